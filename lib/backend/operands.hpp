/// The shapes that the operands of each operation must have: one description for all backends. The
/// names of operands and sizes are those of compute.hpp and communicator.hpp.
/// Each function throws InternalError, which names the operation, the operand and the size, when
/// operands do not fit. A debug build also looks at each index that is in host memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "backend/communicator.hpp"
#include "backend/compute.hpp"

namespace tetrarch::backend::operands {

void matrix(base::DType dtype, std::int64_t outputs, std::int64_t inputs);
void grouped_gemm(const Tensor& x, std::span<const Matrix* const> w,
                  std::span<const std::int64_t> row_offset, const Tensor& y);
void rms_norm(const Tensor& x, const Tensor& weight, const Tensor& y);
void rope(const Tensor& x, std::int64_t head_size, const Tensor& position, const Tensor& cosine,
          const Tensor& sine);
void attention(const AttentionShape& shape, const Tensor& query, const Tensor& key,
               const Tensor& value, std::span<const Segment> segments, const Tensor& out);
void grouped_glu(const GluBatch& batch);
void softmax_top_k(const Tensor& logits, const Tensor& expert_id, const Tensor& gate_weight);
void group_by_expert(const Tensor& expert_id, const Tensor& order, const Tensor& position,
                     const Tensor& count);
void copy(const Tensor& from, const Tensor& to);
void permute_rows(const Tensor& from, const Tensor& index, const Tensor& to);
void combine(const Tensor& rows, const Tensor& position, const Tensor& gate_weight,
             const Tensor& residual, const Tensor& out);
void vocabulary_stats(const Tensor& logits, std::span<const std::int64_t> slice_size,
                      const Tensor& target, const Tensor& stats);
void largest_logits(const Tensor& logits, const Tensor& top);
void row_is_finite(const Tensor& x, const Tensor& flag);

/// Of the collectives, for rank `rank` of `size` ranks.
/// Returns the number of rows of all ranks.
std::int64_t all_gather_v(const Tensor& send, std::span<const std::int64_t> row_count,
                          const Tensor& receive, int rank, int size);
void all_to_all_v(const Tensor& send, std::span<const std::int64_t> send_count,
                  std::span<const std::int64_t> send_offset, const Tensor& receive,
                  std::span<const std::int64_t> receive_count,
                  std::span<const std::int64_t> receive_offset, int rank, int size);
/// Returns the number of rows that this rank owns.
std::int64_t tree_reduce_scatter_v(const ReduceScatter& call, int rank, int size);

}  // namespace tetrarch::backend::operands
