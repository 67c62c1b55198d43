// SPDX-License-Identifier: Apache-2.0
#include "model/row_operations.hpp"

namespace tetrarch::model {

using base::Phase;
using plan::BufferName;

backend::Tensor gather_pass(const Context& context, const Workspace& workspace,
                            const backend::Tensor& home) {
  if (context.tp.size() == 1) return home;
  const backend::Tensor pass = workspace.tensor(BufferName::gathered, home.dtype, 1,
                                                workspace.pass_rows().num_tokens(), home.columns);
  context.tp.all_gather_v(home, workspace.home_count(), pass);
  context.timeline.add_bytes(pass.bytes() - home.bytes());
  return pass;
}

void upload_positions(const Context& context, const Workspace& workspace) {
  std::vector<std::int32_t> positions;
  positions.reserve(workspace.pass_rows().num_tokens());
  for (const SequenceRows& rows : workspace.pass_rows().rows)
    for (std::int64_t i = 0; i < rows.count; ++i)
      positions.push_back(static_cast<std::int32_t>(rows.first_position + i));
  context.compute.upload(positions.data(),
                         workspace.tensor(BufferName::positions, base::DType::i32, 1,
                                          workspace.pass_rows().num_tokens(), 1));
}

void add_to_residual(const Context& context, const backend::Tensor& partial, Workspace& workspace) {
  context.timeline.enter(Phase::tp_reduce);
  backend::ReduceScatter reduce;
  reduce.partial = partial;
  reduce.row_count = workspace.home_count();
  reduce.residual = workspace.residual();
  reduce.out = workspace.residual_next();
  if (context.tp.size() > 1)
    reduce.received =
        workspace.tensor(BufferName::reduce_received, partial.dtype, context.reduction_shards,
                         workspace.home().size(), partial.columns);
  context.tp.tree_reduce_scatter_v(reduce);
  context.timeline.add_bytes(reduce.received.is_absent() ? 0 : reduce.received.bytes());
  workspace.advance();
}

void select(const Context& context, const Workspace& workspace, const backend::Tensor& from,
            std::span<const std::int32_t> rows, const backend::Tensor& to) {
  const backend::Tensor index = workspace.tensor(BufferName::token_ids, base::DType::i32, 1,
                                                 static_cast<std::int64_t>(rows.size()), 1);
  context.compute.upload(rows.data(), index);
  context.compute.permute_rows(from, index, to);
}

void norm_heads(const Context& context, const OwnedTensor& weight, const backend::Tensor& x) {
  if (weight.tensor.is_absent()) return;
  const std::int64_t head_size = context.spec.head_size;
  const backend::Tensor heads{x.data, x.dtype, 1, x.rows * x.columns / head_size, head_size};
  context.compute.rms_norm(heads, weight.tensor, static_cast<float>(context.spec.norm_eps), heads);
}

}  // namespace tetrarch::model
