/// The second half of a layer without experts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// residual += down(act(gate x) * up x) of the normed residual stream; mlp: down(act(up x)).
///
/// Own FFN columns by tp: normed rows are gathered over tp, and the products of the reduction
/// shards go back to the tokens' homes in the tree order. Nothing is routed: afterwards
/// workspace.routing is empty. Collective over tp.
void dense_step(const Context& context, const LayerWeights& weights, Workspace& workspace);

}  // namespace tetrarch::model
