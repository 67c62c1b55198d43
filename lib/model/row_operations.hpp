/// Operations on the rows of a pass that several steps of a layer share.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

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

/// Applies an RMS norm to each head of x [rows, local heads * d] in place, before RoPE. All heads
/// share `weight` [1, d]. If the weight is absent (model without qk_norm), x does not change.
void norm_heads(const Context& context, const OwnedTensor& weight, const backend::Tensor& x);

}  // namespace tetrarch::model
