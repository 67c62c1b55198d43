// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cuda_compute.hpp"

#include "backend/cuda/check.hpp"
#include "backend/cuda/kernels/attention.hpp"
#include "backend/cuda/kernels/experts.hpp"
#include "backend/cuda/kernels/rows.hpp"
#include "backend/cuda/kernels/vocabulary.hpp"
#include "backend/operands.hpp"

namespace tetrarch::backend::cuda {
namespace {

using base::DType;

/// Uploads rows as they come.
class CudaMatrixBuilder final : public MatrixBuilder {
 public:
  CudaMatrixBuilder(std::unique_ptr<CudaMatrix> matrix, Staging& staging)
      : matrix_(std::move(matrix)), staging_(staging) {
    const bool is_nk = matrix_->order == WeightOrder::nk;
    row_bytes_ = (is_nk ? matrix_->inputs() : matrix_->outputs()) * base::size_of(matrix_->dtype);
  }

  void add(const void* rows, std::int64_t count) override {
    const std::int64_t bytes = count * row_bytes_;
    base::expects(done_ + bytes <= matrix_->bytes(), "as many rows as the weight has");
    staging_.upload(rows, static_cast<std::byte*>(matrix_->memory.data()) + done_, bytes);
    done_ += bytes;
  }

  std::unique_ptr<Matrix> take() override {
    base::expects(done_ == matrix_->bytes(), "all rows of the weight");
    return std::move(matrix_);
  }

 private:
  std::unique_ptr<CudaMatrix> matrix_;
  Staging& staging_;
  std::int64_t row_bytes_ = 0, done_ = 0;
};

}  // namespace

std::unique_ptr<MatrixBuilder> CudaCompute::build_matrix(DType dtype, std::int64_t outputs,
                                                         std::int64_t inputs, WeightOrder order) {
  operands::matrix(dtype, outputs, inputs);
  return std::make_unique<CudaMatrixBuilder>(
      std::make_unique<CudaMatrix>(dtype, outputs, inputs, order, stream_), staging_);
}

std::int64_t CudaCompute::packed_bytes(DType dtype, std::int64_t outputs,
                                       std::int64_t inputs) const {
  return outputs * inputs * base::size_of(dtype);
}

void* CudaCompute::workspace(std::int64_t bytes) {
  // freeing waits until the device is done with the old memory
  if (!workspace_ || workspace_->bytes() < bytes)
    workspace_ = std::make_unique<DeviceMemory>(bytes, stream_);
  return workspace_->data();
}

void CudaCompute::gemm(const Tensor& x, const Matrix& w, const Tensor& y) {
  const Matrix* const one[] = {&w};
  const std::int64_t row_offset[] = {0, x.rows};
  grouped_gemm(x, one, row_offset, y);
}

void CudaCompute::grouped_gemm(const Tensor& x, std::span<const Matrix* const> w,
                               std::span<const std::int64_t> row_offset, const Tensor& y) {
  operands::grouped_gemm(x, w, row_offset, y);
  for (std::size_t group = 0; group < w.size(); ++group) {
    const std::int64_t begin = row_offset[group], rows = row_offset[group + 1] - begin;
    products_.multiply(x.row_range(begin, rows), static_cast<const CudaMatrix&>(*w[group]),
                       y.row_range(begin, rows));
  }
}

void CudaCompute::rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y) {
  operands::rms_norm(x, weight, y);
  cuda::rms_norm(stream_, x, weight, eps, y);
}

void CudaCompute::rope(const Tensor& x, std::int64_t head_size, const Tensor& position,
                       const Tensor& cosine, const Tensor& sine) {
  operands::rope(x, head_size, position, cosine, sine);
  cuda::rope(stream_, x, head_size, position, cosine, sine);
}

void CudaCompute::attention(const AttentionShape& shape, const Tensor& query, const Tensor& key,
                            const Tensor& value, std::span<const Segment> segments,
                            const Tensor& out) {
  operands::attention(shape, query, key, value, segments, out);
  if (segments.empty()) return;
  segments_.resize(segments.size());
  const std::int64_t num_tiles = tile_segments(shape, segments, segments_);
  const auto bytes = static_cast<std::int64_t>(segments_.size() * sizeof(TiledSegment));
  void* const on_device = workspace(bytes);
  staging_.upload(segments_.data(), on_device, bytes);
  cuda::attention(stream_, shape, query, key, value, static_cast<const TiledSegment*>(on_device),
                  std::ssize(segments), num_tiles, out);
}

void CudaCompute::grouped_glu(const GluBatch& batch) {
  operands::grouped_glu(batch);
  const bool has_gate = !batch.gate.empty();
  grouped_gemm(batch.x, batch.up, batch.row_offset, batch.up_rows);
  if (has_gate) grouped_gemm(batch.x, batch.gate, batch.row_offset, batch.gate_rows);
  activation(stream_, has_gate ? batch.gate_rows : batch.up_rows,
             has_gate ? batch.up_rows : Tensor{}, batch.kind, batch.out);
}

void CudaCompute::softmax_top_k(const Tensor& logits, bool renormalise, float scale,
                                const Tensor& expert_id, const Tensor& gate_weight) {
  operands::softmax_top_k(logits, expert_id, gate_weight);
  cuda::softmax_top_k(stream_, logits, renormalise, scale, expert_id, gate_weight);
}

void CudaCompute::group_by_expert(const Tensor& expert_id, const Tensor& order,
                                  const Tensor& position, const Tensor& count) {
  operands::group_by_expert(expert_id, order, position, count);
  cuda::group_by_expert(
      stream_, expert_id, order, position, count,
      workspace(grouping_bytes(expert_id.rows, expert_id.columns, count.columns)));
}

void CudaCompute::copy(const Tensor& from, const Tensor& to) {
  operands::copy(from, to);
  if (to.bytes() == 0 || from.data == to.data) return;
  check(cudaMemcpyAsync(to.data, from.data, static_cast<std::size_t>(to.bytes()),
                        cudaMemcpyDeviceToDevice, stream_),
        "cudaMemcpyAsync on the device");
}

void CudaCompute::permute_rows(const Tensor& from, const Tensor& index, const Tensor& to) {
  operands::permute_rows(from, index, to);
  cuda::permute_rows(stream_, from, index, to);
}

void CudaCompute::combine(const Tensor& rows, const Tensor& position, const Tensor& gate_weight,
                          const Tensor& residual, const Tensor& out) {
  operands::combine(rows, position, gate_weight, residual, out);
  cuda::combine(stream_, rows, position, gate_weight, residual, out);
}

void CudaCompute::vocabulary_stats(const Tensor& logits, std::span<const std::int64_t> slice_size,
                                   std::int64_t first_id, const Tensor& target,
                                   const Tensor& stats) {
  operands::vocabulary_stats(logits, slice_size, target, stats);
  cuda::vocabulary_stats(stream_, logits, slice_size, first_id, target, stats);
}

void CudaCompute::largest_logits(const Tensor& logits, std::int64_t first_id, const Tensor& top) {
  operands::largest_logits(logits, top);
  cuda::largest_logits(stream_, logits, first_id, top);
}

void CudaCompute::row_is_finite(const Tensor& x, const Tensor& flag) {
  operands::row_is_finite(x, flag);
  cuda::row_is_finite(stream_, x, flag);
}

void CudaCompute::upload(const void* host, const Tensor& to) {
  staging_.upload(host, to.data, to.bytes());
}

void CudaCompute::download(const Tensor& from, void* host) {
  staging_.download(from.data, host, from.bytes());
}

void CudaCompute::synchronize() {
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

}  // namespace tetrarch::backend::cuda
