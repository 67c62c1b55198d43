/// Compute on the host: checks the arguments' shapes and calls the kernels.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "backend/cpu/kernels/gemm.hpp"

namespace tetrarch::backend::cpu {

class CpuCompute final : public Compute {
 public:
  explicit CpuCompute(std::unique_ptr<GemmFamily> gemm) : gemm_(std::move(gemm)) {}
  /// Replaces the family of product kernels. Call it before any pack() or build_matrix(): a matrix
  /// can only be used by the family that packed it.
  void use(std::unique_ptr<GemmFamily> gemm);
  const GemmFamily& gemm_family() const { return *gemm_; }

  std::unique_ptr<MatrixBuilder> build_matrix(base::DType dtype, std::int64_t outputs,
                                              std::int64_t inputs, WeightOrder order) override;
  std::int64_t packed_bytes(base::DType dtype, std::int64_t outputs,
                            std::int64_t inputs) const override {
    return gemm_->packed_bytes(dtype, outputs, inputs);
  }
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
  void synchronize() override {}

 private:
  std::unique_ptr<GemmFamily> gemm_;
  std::vector<Product> products_;
  bool has_packed_ = false;
};

}  // namespace tetrarch::backend::cpu
