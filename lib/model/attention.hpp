/// The attention half of a layer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/observer.hpp"
#include "model/rope_table.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// Names a layer and tells how much of its output is needed.
struct LayerPlace {
  std::int64_t layer = 0;                         // in the model
  std::int64_t stage_layer = 0;                   // among the layers of this rank's stage
  plan::RowsWanted rows = plan::RowsWanted::all;  // the rows whose output is needed
  bool needs_routing = false;                     // the choice of experts of every row is needed
};

/// residual += o(attention(rope(q, k), v)), computed from the normed residual stream.
///
/// An ep rank computes its own sequences, a tp rank its own heads. The normed rows are gathered
/// over tp. The products of the reduction shards are summed in the fixed tree order at the home of
/// each token. Keys and values are computed for every row, and kept in the cache for sequences that
/// pass in chunks. If only some rows of the output are wanted, the residual stream and
/// workspace.pass_rows() are reduced to them. Collective over tp.
void attention_step(const Context& context, const LayerWeights& weights, const RopeTable& rope,
                    const LayerPlace& place, Workspace& workspace, Observer& observer);

}  // namespace tetrarch::model
