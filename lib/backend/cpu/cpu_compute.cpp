// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/cpu_compute.hpp"

#include <cstring>
#include <numeric>

#include "backend/cpu/kernels/kernels.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;
using base::expects;

bool is_model_dtype(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16;
}

bool has_shape(const Tensor& tensor, DType dtype, std::int64_t rows, std::int64_t columns) {
  return tensor.dtype == dtype && tensor.slices == 1 && tensor.rows == rows &&
         tensor.columns == columns;
}

}  // namespace

void CpuCompute::use(std::unique_ptr<GemmFamily> gemm) {
  expects(!has_packed_, "kernels chosen before any weight is packed");
  gemm_ = std::move(gemm);
}

std::unique_ptr<MatrixBuilder> CpuCompute::build_matrix(DType dtype, std::int64_t outputs,
                                                        std::int64_t inputs, WeightOrder order) {
  expects(is_model_dtype(dtype) && outputs > 0 && inputs > 0, "a weight of f32 or bf16");
  has_packed_ = true;
  return gemm_->build(dtype, outputs, inputs, order);
}

void CpuCompute::gemm(const Tensor& x, const Matrix& w, const Tensor& y) {
  const Matrix* const one[] = {&w};
  const std::int64_t row_offset[] = {0, x.rows};
  grouped_gemm(x, one, row_offset, y);
}

void CpuCompute::grouped_gemm(const Tensor& x, std::span<const Matrix* const> w,
                              std::span<const std::int64_t> row_offset, const Tensor& y) {
  expects(is_model_dtype(x.dtype) && is_model_dtype(y.dtype), "rows of f32 or bf16");
  expects(x.rows == y.rows && row_offset.size() == w.size() + 1, "one y row per x row");
  products_.clear();
  for (std::size_t group = 0; group < w.size(); ++group) {
    const std::int64_t begin = row_offset[group], rows = row_offset[group + 1] - begin;
    expects(rows >= 0, "row offsets that ascend");
    if (rows == 0) continue;
    expects(x.columns == w[group]->inputs() && y.columns == w[group]->outputs(),
            "rows as wide as the weight");
    products_.push_back({x.row_range(begin, rows), w[group], y.row_range(begin, rows)});
  }
  gemm_->multiply(products_);
}

void CpuCompute::rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y) {
  expects(is_model_dtype(x.dtype) && has_shape(y, x.dtype, x.rows, x.columns), "y like x");
  expects(has_shape(weight, x.dtype, 1, x.columns), "a weight per column");
  cpu::rms_norm(x, weight, eps, y);
}

void CpuCompute::rope(const Tensor& x, std::int64_t head_size, const Tensor& position,
                      const Tensor& cosine, const Tensor& sine) {
  expects(is_model_dtype(x.dtype) && x.columns % head_size == 0, "whole heads");
  expects(2 * cosine.columns <= head_size, "pairs inside a head");
  expects(has_shape(position, DType::i32, x.rows, 1), "a position per row");
  expects(has_shape(sine, DType::f32, cosine.rows, cosine.columns), "sines like cosines");
  cpu::rope(x, head_size, position, cosine, sine);
}

void CpuCompute::attention(const AttentionShape& shape, const Tensor& query, const Tensor& key,
                           const Tensor& value, std::span<const Segment> segments,
                           const Tensor& out) {
  expects(shape.num_kv_heads > 0 && shape.num_heads % shape.num_kv_heads == 0,
          "equally many query heads per kv head");
  expects(is_model_dtype(query.dtype) && key.dtype == query.dtype && value.dtype == query.dtype &&
              out.dtype == query.dtype,
          "one model dtype");
  expects(query.columns == shape.num_heads * shape.head_size, "queries of all heads");
  expects(key.columns == shape.num_kv_heads * shape.head_size && value.columns == key.columns,
          "keys and values of all kv heads");
  expects(shape.num_heads % out.slices == 0 && out.rows == query.rows &&
              out.columns * out.slices == query.columns,
          "whole heads per slice of out");
  for (const Segment& segment : segments) {
    expects(segment.row >= 0 && segment.count >= 0 && segment.row + segment.count <= query.rows,
            "queries inside the tensor");
    expects(segment.key_row >= 0 && segment.first_position >= 0 &&
                segment.key_row + segment.first_position + segment.count <=
                    std::min(key.rows, value.rows),
            "keys inside the tensor");
  }
  cpu::attention(shape, query, key, value, segments, out);
}

void CpuCompute::grouped_glu(const GluBatch& batch) {
  const Tensor &x = batch.x, &out = batch.out;
  const bool has_gate = !batch.gate.empty();
  expects(
      is_model_dtype(x.dtype) && has_shape(batch.up_rows, x.dtype, x.rows, batch.up_rows.columns),
      "a scratch row per row");
  expects(!has_gate || (batch.gate.size() == batch.up.size() &&
                        has_shape(batch.gate_rows, x.dtype, x.rows, batch.up_rows.columns)),
          "gates like ups");
  expects(out.dtype == x.dtype && out.rows == x.rows &&
              out.slices * out.columns == batch.up_rows.columns,
          "out like up, in slices");
  if (gemm_->multiply_glu(batch)) return;
  grouped_gemm(x, batch.up, batch.row_offset, batch.up_rows);
  if (has_gate) grouped_gemm(x, batch.gate, batch.row_offset, batch.gate_rows);
  cpu::activation(has_gate ? batch.gate_rows : batch.up_rows, has_gate ? batch.up_rows : Tensor{},
                  batch.kind, out);
}

void CpuCompute::softmax_top_k(const Tensor& logits, bool renormalise, float scale,
                               const Tensor& expert_id, const Tensor& gate_weight) {
  const std::int64_t k = expert_id.columns;
  expects(logits.dtype == DType::f32 && k > 0 && k <= logits.columns, "f32 logits, top_k of them");
  expects(has_shape(expert_id, DType::i32, logits.rows, k) &&
              has_shape(gate_weight, DType::f32, logits.rows, k),
          "top_k choices per row");
  cpu::softmax_top_k(logits, renormalise, scale, expert_id, gate_weight);
}

void CpuCompute::group_by_expert(const Tensor& expert_id, const Tensor& order,
                                 const Tensor& position, const Tensor& count) {
  const std::int64_t k = expert_id.columns;
  expects(has_shape(order, DType::i32, order.rows, 1), "a place per copy");
  expects(has_shape(position, DType::i32, expert_id.rows, k), "a position per copy");
  expects(count.dtype == DType::i32 && count.rows == 1, "a count per expert");
  cpu::group_by_expert(expert_id, order, position, count);
}

void CpuCompute::copy(const Tensor& from, const Tensor& to) {
  expects(from.dtype == to.dtype && from.slices == to.slices && from.rows == to.rows &&
              from.columns == to.columns,
          "equal extents");
  if (to.bytes() > 0) std::memcpy(to.data, from.data, static_cast<std::size_t>(to.bytes()));
}

void CpuCompute::permute_rows(const Tensor& from, const Tensor& index, const Tensor& to) {
  expects(from.dtype == to.dtype && from.columns == to.columns, "rows of one kind");
  expects(has_shape(index, DType::i32, to.rows, 1), "an index per row");
  cpu::permute_rows(from, index, to);
}

void CpuCompute::combine(const Tensor& rows, const Tensor& position, const Tensor& gate_weight,
                         const Tensor& residual, const Tensor& out) {
  expects(is_model_dtype(out.dtype) && rows.dtype == out.dtype && rows.columns == out.columns,
          "rows like out");
  expects(has_shape(position, DType::i32, out.rows, position.columns) &&
              has_shape(gate_weight, DType::f32, out.rows, position.columns),
          "top_k positions and weights per row");
  expects(residual.is_absent() || has_shape(residual, out.dtype, out.rows, out.columns),
          "a residual like out");
  cpu::combine(rows, position, gate_weight, residual, out);
}

void CpuCompute::vocabulary_stats(const Tensor& logits, std::span<const std::int64_t> slice_size,
                                  std::int64_t first_id, const Tensor& target,
                                  const Tensor& stats) {
  const auto slices = static_cast<std::int64_t>(slice_size.size());
  expects(
      logits.dtype == DType::f32 &&
          logits.columns == std::accumulate(slice_size.begin(), slice_size.end(), std::int64_t{0}),
      "logits of all slices");
  expects(has_shape(target, DType::i32, logits.rows, 1) &&
              has_shape(stats, DType::i32, logits.rows, 4 * slices),
          "a target and four numbers per slice in each row");
  cpu::vocabulary_stats(logits, slice_size, first_id, target, stats);
}

void CpuCompute::largest_logits(const Tensor& logits, std::int64_t first_id, const Tensor& top) {
  expects(logits.dtype == DType::f32 && logits.slices == 1, "logits of f32");
  expects(has_shape(top, DType::i32, logits.rows, top.columns) && top.columns % 2 == 0 &&
              top.columns > 0,
          "an id and a logit for each of the largest");
  cpu::largest_logits(logits, first_id, top);
}

void CpuCompute::row_is_finite(const Tensor& x, const Tensor& flag) {
  expects(is_model_dtype(x.dtype) && has_shape(flag, DType::i32, x.rows, 1), "a flag per row");
  cpu::row_is_finite(x, flag);
}

void CpuCompute::upload(const void* host, const Tensor& to) {
  if (to.bytes() > 0) std::memcpy(to.data, host, static_cast<std::size_t>(to.bytes()));
}

void CpuCompute::download(const Tensor& from, void* host) {
  if (from.bytes() > 0) std::memcpy(host, from.data, static_cast<std::size_t>(from.bytes()));
}

}  // namespace tetrarch::backend::cpu
