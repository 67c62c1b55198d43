// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/cpu_compute.hpp"

#include <cstring>

#include "backend/cpu/kernels/kernels.hpp"
#include "backend/operands.hpp"

namespace tetrarch::backend::cpu {

using base::DType;
using base::expects;

void CpuCompute::use(std::unique_ptr<GemmFamily> gemm) {
  expects(!has_packed_, "kernels chosen before any weight is packed");
  gemm_ = std::move(gemm);
}

std::unique_ptr<MatrixBuilder> CpuCompute::build_matrix(DType dtype, std::int64_t outputs,
                                                        std::int64_t inputs, WeightOrder order) {
  operands::matrix(dtype, outputs, inputs);
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
  operands::grouped_gemm(x, w, row_offset, y);
  products_.clear();
  for (std::size_t group = 0; group < w.size(); ++group) {
    const std::int64_t begin = row_offset[group], rows = row_offset[group + 1] - begin;
    if (rows == 0) continue;
    products_.push_back({x.row_range(begin, rows), w[group], y.row_range(begin, rows)});
  }
  gemm_->multiply(products_);
}

void CpuCompute::rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y) {
  operands::rms_norm(x, weight, y);
  cpu::rms_norm(x, weight, eps, y);
}

void CpuCompute::rope(const Tensor& x, std::int64_t head_size, const Tensor& position,
                      const Tensor& cosine, const Tensor& sine) {
  operands::rope(x, head_size, position, cosine, sine);
  cpu::rope(x, head_size, position, cosine, sine);
}

void CpuCompute::attention(const AttentionShape& shape, const Tensor& query, const Tensor& key,
                           const Tensor& value, std::span<const Segment> segments,
                           const Tensor& out) {
  operands::attention(shape, query, key, value, segments, out);
  cpu::attention(shape, query, key, value, segments, out);
}

void CpuCompute::grouped_glu(const GluBatch& batch) {
  operands::grouped_glu(batch);
  if (gemm_->multiply_glu(batch)) return;
  const bool has_gate = !batch.gate.empty();
  grouped_gemm(batch.x, batch.up, batch.row_offset, batch.up_rows);
  if (has_gate) grouped_gemm(batch.x, batch.gate, batch.row_offset, batch.gate_rows);
  cpu::activation(has_gate ? batch.gate_rows : batch.up_rows, has_gate ? batch.up_rows : Tensor{},
                  batch.kind, batch.out);
}

void CpuCompute::softmax_top_k(const Tensor& logits, bool renormalise, float scale,
                               const Tensor& expert_id, const Tensor& gate_weight) {
  operands::softmax_top_k(logits, expert_id, gate_weight);
  cpu::softmax_top_k(logits, renormalise, scale, expert_id, gate_weight);
}

void CpuCompute::group_by_expert(const Tensor& expert_id, const Tensor& order,
                                 const Tensor& position, const Tensor& count) {
  operands::group_by_expert(expert_id, order, position, count);
  cpu::group_by_expert(expert_id, order, position, count);
}

void CpuCompute::copy(const Tensor& from, const Tensor& to) {
  operands::copy(from, to);
  if (to.bytes() > 0) std::memcpy(to.data, from.data, static_cast<std::size_t>(to.bytes()));
}

void CpuCompute::permute_rows(const Tensor& from, const Tensor& index, const Tensor& to) {
  operands::permute_rows(from, index, to);
  cpu::permute_rows(from, index, to);
}

void CpuCompute::combine(const Tensor& rows, const Tensor& position, const Tensor& gate_weight,
                         const Tensor& residual, const Tensor& out) {
  operands::combine(rows, position, gate_weight, residual, out);
  cpu::combine(rows, position, gate_weight, residual, out);
}

void CpuCompute::vocabulary_stats(const Tensor& logits, std::span<const std::int64_t> slice_size,
                                  std::int64_t first_id, const Tensor& target,
                                  const Tensor& stats) {
  operands::vocabulary_stats(logits, slice_size, target, stats);
  cpu::vocabulary_stats(logits, slice_size, first_id, target, stats);
}

void CpuCompute::largest_logits(const Tensor& logits, std::int64_t first_id, const Tensor& top) {
  operands::largest_logits(logits, top);
  cpu::largest_logits(logits, first_id, top);
}

void CpuCompute::row_is_finite(const Tensor& x, const Tensor& flag) {
  operands::row_is_finite(x, flag);
  cpu::row_is_finite(x, flag);
}

void CpuCompute::upload(const void* host, const Tensor& to) {
  if (to.bytes() > 0) std::memcpy(to.data, host, static_cast<std::size_t>(to.bytes()));
}

void CpuCompute::download(const Tensor& from, void* host) {
  if (from.bytes() > 0) std::memcpy(host, from.data, static_cast<std::size_t>(from.bytes()));
}

}  // namespace tetrarch::backend::cpu
