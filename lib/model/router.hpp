/// The router: chooses the experts of each token.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// Norms the residual stream, scores all experts in f32, and writes the choice to
/// workspace.routing. Each token is routed once, at its home.
/// returns  the normed rows [home, D], which are the experts' input
/// Local. With a capacity factor: collective over the stage; waits for the choices of all its
/// ranks.
backend::Tensor router_step(const Context& context, const LayerWeights& weights,
                            Workspace& workspace);

}  // namespace tetrarch::model
