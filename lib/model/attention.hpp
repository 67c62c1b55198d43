/// The attention half of a layer, and operations on rows that other steps share.
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

/// Returns the rows of all tp ranks together, [pass, D]. With one tp rank it returns `home`.
/// Collective over tp.
backend::Tensor gather_pass(const Context& context, const Workspace& workspace,
                            const backend::Tensor& home);
/// residual += the sum of the reduction shards, computed at the home of each row. partial [local
/// slices][pass][D]. Collective over tp.
void add_to_residual(const Context& context, const backend::Tensor& partial, Workspace& workspace);
/// Uploads the position of every row of workspace.pass_rows() for RoPE. Call it once per pass, and
/// after the rows change.
void upload_positions(const Context& context, const Workspace& workspace);
/// to[i] = from[rows[i]].
void select(const Context& context, const Workspace& workspace, const backend::Tensor& from,
            std::span<const std::int32_t> rows, const backend::Tensor& to);

}  // namespace tetrarch::model
