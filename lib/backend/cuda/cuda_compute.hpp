/// Compute on one GPU: every operation is enqueued on one stream.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "backend/compute.hpp"
#include "backend/cuda/kernels/attention.hpp"
#include "backend/cuda/products.hpp"
#include "backend/cuda/staging.hpp"

namespace tetrarch::backend::cuda {

class CudaCompute final : public Compute {
 public:
  /// `stream` must live longer.
  explicit CudaCompute(cudaStream_t stream)
      : stream_(stream), products_(stream), staging_(stream) {}
  cudaStream_t stream() const { return stream_; }
  Products& products() { return products_; }
  const Products& products() const { return products_; }

  std::unique_ptr<MatrixBuilder> build_matrix(base::DType dtype, std::int64_t outputs,
                                              std::int64_t inputs, WeightOrder order) override;
  std::int64_t packed_bytes(base::DType dtype, std::int64_t outputs,
                            std::int64_t inputs) const override;
  void gemm(const Tensor& x, const Matrix& w, const Tensor& y) override;
  void grouped_gemm(const Tensor& x, std::span<const Matrix* const> w,
                    std::span<const std::int64_t> row_offset, const Tensor& y) override;
  void rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y) override;
  void rope(const Tensor& x, std::int64_t head_size, const Tensor& position, const Tensor& cosine,
            const Tensor& sine) override;
  void attention(const AttentionShape& shape, const Tensor& query, const Tensor& key,
                 const Tensor& value, std::span<const Segment> segments,
                 const Tensor& out) override;
  void grouped_glu(const GluBatch& batch) override;
  void softmax_top_k(const Tensor& logits, bool renormalise, float scale, const Tensor& expert_id,
                     const Tensor& gate_weight) override;
  void group_by_expert(const Tensor& expert_id, const Tensor& order, const Tensor& position,
                       const Tensor& count) override;
  void copy(const Tensor& from, const Tensor& to) override;
  void permute_rows(const Tensor& from, const Tensor& index, const Tensor& to) override;
  void combine(const Tensor& rows, const Tensor& position, const Tensor& gate_weight,
               const Tensor& residual, const Tensor& out) override;
  void vocabulary_stats(const Tensor& logits, std::span<const std::int64_t> slice_size,
                        std::int64_t first_id, const Tensor& target, const Tensor& stats) override;
  void largest_logits(const Tensor& logits, std::int64_t first_id, const Tensor& top) override;
  void row_is_finite(const Tensor& x, const Tensor& flag) override;
  void upload(const void* host, const Tensor& to) override;
  void download(const Tensor& from, void* host) override;
  void synchronize() override;

 private:
  /// Working memory of `bytes` bytes for operations on the stream; it grows when more is needed.
  void* workspace(std::int64_t bytes);

  cudaStream_t stream_;
  Products products_;
  Staging staging_;
  std::unique_ptr<DeviceMemory> workspace_;
  std::vector<TiledSegment> segments_;  // kept so that calls do not allocate
};

}  // namespace tetrarch::backend::cuda
