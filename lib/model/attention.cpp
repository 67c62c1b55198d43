// SPDX-License-Identifier: Apache-2.0
#include "model/attention.hpp"

namespace tetrarch::model {

using base::Phase;
using plan::BufferName;

namespace {

std::vector<backend::Segment> segments_of(const MicroBatch& batch) {
  std::vector<backend::Segment> segments;
  std::int64_t row = 0;
  for (const SequenceRows& rows : batch.rows) {
    base::expects(rows.first_position == 0, "whole sequences");  // keys of earlier chunks: none
    segments.push_back({row, rows.count, rows.first_position, row});
    row += rows.count;
  }
  return segments;
}

/// Multiply-adds of visible (query, key) pairs: scores and weighted sums.
std::uint64_t attention_flops(const MicroBatch& batch, std::int64_t width, std::int64_t window) {
  double pairs = 0;
  for (const SequenceRows& rows : batch.rows) {
    const auto last = static_cast<double>(rows.first_position + rows.count);
    const auto first = static_cast<double>(rows.first_position);
    pairs += (last * (last + 1) - first * (first + 1)) / 2;
    if (window > 0 && last > static_cast<double>(window)) {
      const double beyond = last - static_cast<double>(window);
      pairs -= beyond * (beyond + 1) / 2;
    }
  }
  return static_cast<std::uint64_t>(4.0 * pairs * static_cast<double>(width));
}

}  // namespace

backend::Tensor gather_part(const Context& context, const Workspace& workspace,
                            const backend::Tensor& home) {
  if (context.tp.size() == 1) return home;
  const backend::Tensor part = workspace.tensor(BufferName::gathered, home.dtype, 1,
                                                workspace.batch().num_tokens(), home.columns);
  context.tp.all_gather_v(home, workspace.home_count(), part);
  context.timeline.add_bytes(part.bytes() - home.bytes());
  return part;
}

void upload_positions(const Context& context, const Workspace& workspace) {
  std::vector<std::int32_t> positions;
  positions.reserve(workspace.batch().num_tokens());
  for (const SequenceRows& rows : workspace.batch().rows)
    for (std::int64_t i = 0; i < rows.count; ++i)
      positions.push_back(static_cast<std::int32_t>(rows.first_position + i));
  context.compute.upload(positions.data(), workspace.tensor(BufferName::positions, base::DType::i32,
                                                            1, workspace.batch().num_tokens(), 1));
}

void attention_step(const Context& context, const LayerWeights& weights, const RopeTable& rope,
                    std::int64_t layer, Workspace& workspace) {
  const plan::ModelSpec& spec = context.spec;
  backend::Compute& compute = context.compute;
  const std::int64_t part = workspace.batch().num_tokens();
  const std::int64_t query_width = context.local.heads.size() * spec.head_size;
  const std::int64_t key_width = context.local.kv_heads.size() * spec.head_size;
  const std::int64_t slices = context.local.slices.size();
  const auto tensor = [&](BufferName name, std::int64_t num_slices, std::int64_t rows,
                          std::int64_t columns) {
    return workspace.tensor(name, spec.dtype, num_slices, rows, columns);
  };

  context.timeline.enter(Phase::norm);
  const backend::Tensor normed =
      tensor(BufferName::normed, 1, workspace.home().size(), spec.hidden_size);
  compute.rms_norm(workspace.residual(), weights.attn_norm.tensor,
                   static_cast<float>(spec.norm_eps), normed);

  context.timeline.enter(Phase::tp_gather);
  const backend::Tensor x = gather_part(context, workspace, normed);

  context.timeline.enter(Phase::qkv);
  const backend::Tensor query = tensor(BufferName::query, 1, part, query_width);
  const backend::Tensor key = tensor(BufferName::key, 1, part, key_width);
  const backend::Tensor value = tensor(BufferName::value, 1, part, key_width);
  product(context, x, *weights.q, query);
  product(context, x, *weights.k, key);
  product(context, x, *weights.v, value);
  const backend::Tensor positions =
      workspace.tensor(BufferName::positions, base::DType::i32, 1, part, 1);
  compute.rope(query, spec.head_size, positions, rope.cosine.tensor, rope.sine.tensor);
  compute.rope(key, spec.head_size, positions, rope.cosine.tensor, rope.sine.tensor);

  context.timeline.enter(Phase::attention);
  const backend::Tensor attended = tensor(BufferName::attended, slices, part, query_width / slices);
  const std::int64_t window = spec.window[layer];
  compute.attention({context.local.heads.size(), context.local.kv_heads.size(), spec.head_size,
                     static_cast<float>(spec.attention_scale), window},
                    query, key, value, segments_of(workspace.batch()), attended);
  context.timeline.add_flops(attention_flops(workspace.batch(), query_width, window));

  context.timeline.enter(Phase::o_proj);
  const backend::Tensor partial =
      tensor(BufferName::attention_partial, slices, part, spec.hidden_size);
  for (std::int64_t slice = 0; slice < slices; ++slice)
    product(context, attended.slice(slice), *weights.o[slice], partial.slice(slice));

  context.timeline.enter(Phase::tp_reduce);
  backend::ReduceScatter reduce;
  reduce.partial = partial;
  reduce.row_count = workspace.home_count();
  reduce.residual = workspace.residual();
  reduce.out = workspace.residual_next();
  if (context.tp.size() > 1)
    reduce.received = tensor(BufferName::reduce_received, context.reduction_shards,
                             workspace.home().size(), spec.hidden_size);
  context.tp.tree_reduce_scatter_v(reduce);
  context.timeline.add_bytes(reduce.received.is_absent() ? 0 : reduce.received.bytes());
  workspace.advance();
}

}  // namespace tetrarch::model
