/// Which experts each token goes to.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// Norms the residual stream, scores all experts in f32, and leaves the choice in
/// workspace.routing. Each token is routed once, at its home. Local; with a capacity factor
/// collective over the stage, and waits for the choices of all its ranks. returns  the normed rows
/// [home, D] that go to the experts
backend::Tensor router_step(const Context& context, const LayerWeights& weights,
                            Workspace& workspace);

}  // namespace tetrarch::model
