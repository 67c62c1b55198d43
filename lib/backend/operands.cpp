// SPDX-License-Identifier: Apache-2.0
#include "backend/operands.hpp"

#include <algorithm>
#include <numeric>

#include "backend/sizes.hpp"

namespace tetrarch::backend::operands {

using base::DType;

namespace {

std::int64_t sum(std::span<const std::int64_t> values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

}  // namespace

void matrix(DType dtype, std::int64_t outputs, std::int64_t inputs) {
  base::expects((dtype == DType::f32 || dtype == DType::bf16) && outputs > 0 && inputs > 0,
                "a weight of f32 or bf16");
}

void grouped_gemm(const Tensor& x, std::span<const Matrix* const> w,
                  std::span<const std::int64_t> row_offset, const Tensor& y) {
  Sizes sizes("grouped_gemm");
  sizes.hold("x", x, sizes.model_dtype("x", x), "rows", "inputs");
  sizes.hold("y", y, sizes.model_dtype("y", y), "rows", "outputs");
  sizes.expects(row_offset.size() == w.size() + 1, "a row offset for each end of a group");
  for (std::size_t group = 0; group < w.size(); ++group) {
    const std::int64_t begin = row_offset[group], end = row_offset[group + 1];
    sizes.expects(0 <= begin && begin <= end && end <= x.rows, "row offsets that ascend");
    if (begin == end) continue;
    sizes.bind("w", "inputs", w[group]->inputs());
    sizes.bind("w", "outputs", w[group]->outputs());
  }
}

void rms_norm(const Tensor& x, const Tensor& weight, const Tensor& y) {
  Sizes sizes("rms_norm");
  const DType dtype = sizes.model_dtype("x", x);
  sizes.hold("x", x, dtype, "rows", "columns");
  sizes.hold("weight", weight, dtype, 1, "columns");
  sizes.hold("y", y, dtype, "rows", "columns");
}

void rope(const Tensor& x, std::int64_t head_size, const Tensor& position, const Tensor& cosine,
          const Tensor& sine) {
  Sizes sizes("rope");
  sizes.hold("x", x, sizes.model_dtype("x", x), "rows", "columns");
  sizes.hold("position", position, DType::i32, "rows", 1);
  sizes.hold("cosine", cosine, DType::f32, "positions", "half");
  sizes.hold("sine", sine, DType::f32, "positions", "half");
  sizes.expects(head_size > 0 && x.columns % head_size == 0, "whole heads");
  sizes.expects(2 * cosine.columns <= head_size, "pairs inside a head");
}

void attention(const AttentionShape& shape, const Tensor& query, const Tensor& key,
               const Tensor& value, std::span<const Segment> segments, const Tensor& out) {
  Sizes sizes("attention");
  const DType dtype = sizes.model_dtype("query", query);
  const std::int64_t heads = shape.num_heads, kv_heads = shape.num_kv_heads;
  sizes.expects(kv_heads > 0 && heads % kv_heads == 0, "equally many query heads per kv head");
  sizes.expects(out.slices > 0 && heads % out.slices == 0, "whole heads per slice of out");
  sizes.hold("query", query, dtype, "rows", heads * shape.head_size);
  sizes.hold("key", key, dtype, key.rows, kv_heads * shape.head_size);
  sizes.hold("value", value, dtype, value.rows, kv_heads * shape.head_size);
  sizes.hold("out", out, dtype, out.slices, "rows", heads / out.slices * shape.head_size);
  const std::int64_t key_rows = std::min(key.rows, value.rows);
  for (const Segment& segment : segments) {
    sizes.expects(
        segment.row >= 0 && segment.count >= 0 && segment.row + segment.count <= query.rows,
        "queries inside the tensor");
    sizes.expects(segment.key_row >= 0 && segment.first_position >= 0 &&
                      segment.key_row + segment.first_position + segment.count <= key_rows,
                  "keys inside the tensor");
  }
}

void grouped_glu(const GluBatch& batch) {
  Sizes sizes("grouped_glu");
  const DType dtype = sizes.model_dtype("x", batch.x);
  const bool has_gate = !batch.gate.empty();
  sizes.hold("x", batch.x, dtype, "rows", "inputs");
  sizes.hold("up_rows", batch.up_rows, dtype, "rows", "F");
  if (has_gate) sizes.hold("gate_rows", batch.gate_rows, dtype, "rows", "F");
  sizes.expects(!has_gate || batch.gate.size() == batch.up.size(), "a gate for each up");
  sizes.hold("out", batch.out, dtype, batch.out.slices, "rows", "F / slices");
  sizes.bind("out", "F", batch.out.slices * batch.out.columns);
}

void softmax_top_k(const Tensor& logits, const Tensor& expert_id, const Tensor& gate_weight) {
  Sizes sizes("softmax_top_k");
  sizes.hold("logits", logits, DType::f32, "rows", "experts");
  sizes.hold("expert_id", expert_id, DType::i32, "rows", "k");
  sizes.hold("gate_weight", gate_weight, DType::f32, "rows", "k");
  sizes.expects(expert_id.columns > 0 && expert_id.columns <= logits.columns,
                "1 to all experts chosen");
}

void group_by_expert(const Tensor& expert_id, const Tensor& order, const Tensor& position,
                     const Tensor& count) {
  Sizes sizes("group_by_expert");
  sizes.hold("expert_id", expert_id, DType::i32, "rows", "k");
  sizes.hold("order", order, DType::i32, "copies", 1);
  sizes.hold("position", position, DType::i32, "rows", "k");
  sizes.hold("count", count, DType::i32, 1, "experts");
}

void copy(const Tensor& from, const Tensor& to) {
  Sizes sizes("copy");
  sizes.hold("from", from, from.dtype, "slices", "rows", "columns");
  sizes.hold("to", to, from.dtype, "slices", "rows", "columns");
}

void permute_rows(const Tensor& from, const Tensor& index, const Tensor& to) {
  Sizes sizes("permute_rows");
  sizes.hold("from", from, from.dtype, from.rows, "columns");
  sizes.hold("to", to, from.dtype, "rows", "columns");
  sizes.hold("index", index, DType::i32, "rows", 1);
}

void combine(const Tensor& rows, const Tensor& position, const Tensor& gate_weight,
             const Tensor& residual, const Tensor& out) {
  Sizes sizes("combine");
  const DType dtype = sizes.model_dtype("out", out);
  sizes.hold("out", out, dtype, "tokens", "columns");
  sizes.hold("rows", rows, dtype, rows.rows, "columns");
  sizes.hold("position", position, DType::i32, "tokens", "k");
  sizes.hold("gate_weight", gate_weight, DType::f32, "tokens", "k");
  if (!residual.is_absent()) sizes.hold("residual", residual, dtype, "tokens", "columns");
}

void vocabulary_stats(const Tensor& logits, std::span<const std::int64_t> slice_size,
                      const Tensor& target, const Tensor& stats) {
  Sizes sizes("vocabulary_stats");
  sizes.hold("logits", logits, DType::f32, "rows", sum(slice_size));
  sizes.hold("target", target, DType::i32, "rows", 1);
  sizes.hold("stats", stats, DType::i32, "rows", 4 * std::ssize(slice_size));
}

void largest_logits(const Tensor& logits, const Tensor& top) {
  Sizes sizes("largest_logits");
  sizes.hold("logits", logits, DType::f32, "rows", "columns");
  sizes.hold("top", top, DType::i32, "rows", "2 k");
  sizes.expects(top.columns % 2 == 0 && top.columns > 0, "an id and a logit for each");
}

void row_is_finite(const Tensor& x, const Tensor& flag) {
  Sizes sizes("row_is_finite");
  sizes.hold("x", x, sizes.model_dtype("x", x), "rows", "columns");
  sizes.hold("flag", flag, DType::i32, "rows", 1);
}

std::int64_t all_gather_v(const Tensor& send, std::span<const std::int64_t> row_count,
                          const Tensor& receive, int rank, int size) {
  Sizes sizes("all_gather_v");
  sizes.expects(row_count.size() == static_cast<std::size_t>(size), "a row count for each rank");
  const std::int64_t total = sum(row_count);
  sizes.hold("send", send, send.dtype, row_count[static_cast<std::size_t>(rank)], "width");
  sizes.hold("receive", receive, send.dtype, receive.rows, "width");
  sizes.expects(total <= receive.rows, "room for the rows of all ranks");
  return total;
}

void all_to_all_v(const Tensor& send, std::span<const std::int64_t> send_count,
                  std::span<const std::int64_t> send_offset, const Tensor& receive,
                  std::span<const std::int64_t> receive_count,
                  std::span<const std::int64_t> receive_offset, int rank, int size) {
  Sizes sizes("all_to_all_v");
  const auto ranks = static_cast<std::size_t>(size);
  sizes.hold("send", send, send.dtype, send.rows, "width");
  sizes.hold("receive", receive, send.dtype, receive.rows, "width");
  sizes.expects(send_count.size() == ranks && send_offset.size() == ranks &&
                    receive_count.size() == ranks && receive_offset.size() == ranks,
                "a count and an offset for each rank");
  const auto is_inside = [](std::int64_t count, std::int64_t offset, const Tensor& tensor) {
    return count == 0 || (count > 0 && offset >= 0 && offset + count <= tensor.rows);
  };
  for (std::size_t r = 0; r < ranks; ++r) {
    sizes.expects(is_inside(send_count[r], send_offset[r], send), "rows inside send");
    sizes.expects(is_inside(receive_count[r], receive_offset[r], receive), "rows inside receive");
  }
  const auto own = static_cast<std::size_t>(rank);
  sizes.expects(send_count[own] == receive_count[own], "as many own rows received as sent");
}

std::int64_t tree_reduce_scatter_v(const ReduceScatter& call, int rank, int size) {
  Sizes sizes("tree_reduce_scatter_v");
  sizes.expects(call.row_count.size() == static_cast<std::size_t>(size),
                "a row count for each rank");
  const std::int64_t own = call.row_count[static_cast<std::size_t>(rank)];
  const DType dtype = sizes.model_dtype("out", call.out);
  sizes.bind("row_count", "outgoing", sum(call.row_count));
  sizes.hold("partial", call.partial, dtype, "local slices", "rows", "width");
  if (call.index.is_absent())
    sizes.bind("partial", "outgoing", call.partial.rows);
  else
    sizes.hold("index", call.index, DType::i32, "outgoing", 1);
  sizes.hold("out", call.out, dtype, own, "width");
  if (!call.residual.is_absent()) sizes.hold("residual", call.residual, dtype, own, "width");
  if (size == 1) return own;
  sizes.hold("received", call.received, dtype, call.partial.slices * size, own, "width");
  if (!call.index.is_absent()) {
    sizes.hold("send_staging", call.send_staging, dtype, call.send_staging.rows, "width");
    sizes.expects(call.send_staging.rows >= call.partial.rows, "room to order the rows");
  }
  return own;
}

}  // namespace tetrarch::backend::operands
