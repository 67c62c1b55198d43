/// The attention half of a layer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/observer.hpp"
#include "model/rope_table.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// Which layer it is, and how much of it is needed.
struct LayerPlace {
  std::int64_t layer = 0;                         // in the model
  std::int64_t stage_layer = 0;                   // among the layers of this rank's stage
  plan::RowsWanted rows = plan::RowsWanted::all;  // rows whose output is needed
  bool needs_routing = false;                     // every row's choice of experts is needed
};

/// residual += o(attention(rope(q, k), v)) of the normed residual stream.
///
/// Own sequences by ep, own heads by tp: normed rows are gathered over tp, and the products of the
/// reduction shards go back to the tokens' homes in the tree order. Keys and values are made for
/// every row, and kept in the cache for the sequences that pass in chunks; where only some rows are
/// wanted, the residual stream and workspace.batch() are narrowed to them. Collective over tp.
void attention_step(const Context& context, const LayerWeights& weights, const RopeTable& rope,
                    const LayerPlace& place, Workspace& workspace, Observer& observer);

/// The rows of all tp ranks' homes together, [part, D]; `home` itself where tp is 1.
backend::Tensor gather_part(const Context& context, const Workspace& workspace,
                            const backend::Tensor& home);
/// residual += the sum of the reduction shards, at each row's home. partial [local
/// slices][part][D]. Collective over tp.
void add_to_residual(const Context& context, const backend::Tensor& partial, Workspace& workspace);
/// Uploads the position of every row of the part. Once per pass.
void upload_positions(const Context& context, const Workspace& workspace);
/// to[i] = from[rows[i]].
void select(const Context& context, const Workspace& workspace, const backend::Tensor& from,
            std::span<const std::int32_t> rows, const backend::Tensor& to);

}  // namespace tetrarch::model
