/// The feed-forward half of a layer without experts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// residual += down(act(gate x) * up x), computed from the normed residual stream. With expert kind
/// mlp: down(act(up x)).
///
/// A tp rank computes its own FFN columns. The normed rows are gathered over tp. The products of
/// the reduction shards are summed in the fixed tree order at the home of each token. Afterwards
/// workspace.routing is empty. Collective over tp.
void dense_step(const Context& context, const LayerWeights& weights, Workspace& workspace);

}  // namespace tetrarch::model
