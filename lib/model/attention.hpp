/// The attention half of a layer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/rope_table.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// residual += o(attention(rope(q, k), v)) of the normed residual stream.
///
/// Own sequences by ep, own heads by tp: normed rows are gathered over tp, and the products of the
/// reduction shards go back to the tokens' homes in the tree order. Collective over tp.
void attention_step(const Context& context, const LayerWeights& weights, const RopeTable& rope,
                    std::int64_t layer, Workspace& workspace);

/// The rows of all tp ranks' homes together, [part, D]; `home` itself where tp is 1.
backend::Tensor gather_part(const Context& context, const Workspace& workspace,
                            const backend::Tensor& home);
/// Uploads the position of every row of the part. Once per microbatch.
void upload_positions(const Context& context, const Workspace& workspace);

}  // namespace tetrarch::model
