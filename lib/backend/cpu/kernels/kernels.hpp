/// The kernels of Compute and of the sums in tree_reduce_scatter_v(). Arguments are those of
/// compute.hpp; the caller has checked them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "backend/compute.hpp"

namespace tetrarch::backend::cpu {

void rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y);

void rope(const Tensor& x, std::int64_t head_size, const Tensor& position, const Tensor& cosine,
          const Tensor& sine);

void attention(const AttentionShape& shape, const Tensor& query, const Tensor& key,
               const Tensor& value, std::span<const Segment> segments, const Tensor& out);

/// out = round(round(act(gate)) * up). `up` may be absent; then out = round(act(gate)).
void activation(const Tensor& gate, const Tensor& up, ActivationKind kind, const Tensor& out);
/// The same for some columns of some rows, on the calling thread only. gate and up [rows, columns]
/// are the values for row first_row and column first_column of `out` on. first_column counts over
/// all slices of `out`.
void activate_part(const Tensor& gate, const Tensor& up, ActivationKind kind, const Tensor& out,
                   std::int64_t first_row, std::int64_t first_column);

void softmax_top_k(const Tensor& logits, bool renormalise, float scale, const Tensor& expert_id,
                   const Tensor& gate_weight);

void group_by_expert(const Tensor& expert_id, const Tensor& order, const Tensor& position,
                     const Tensor& count);
void permute_rows(const Tensor& from, const Tensor& index, const Tensor& to);
/// As Compute::combine(). A position below 0 adds nothing; `residual` may be absent.
void combine(const Tensor& rows, const Tensor& position, const Tensor& gate_weight,
             const Tensor& residual, const Tensor& out);

void vocabulary_stats(const Tensor& logits, std::span<const std::int64_t> slice_size,
                      std::int64_t first_id, const Tensor& target, const Tensor& stats);
void largest_logits(const Tensor& logits, std::int64_t first_id, const Tensor& top);
void row_is_finite(const Tensor& x, const Tensor& flag);

/// out[i] = round(residual[i] + tree sum of row index[i] of all slices), or of row i if `index` is
/// absent. 1, 2, 4 or 8 slices. `residual` may be absent.
void tree_sum(const Tensor& slices, const Tensor& index, const Tensor& residual, const Tensor& out);
/// The sum that testing::set_plain_reduction() selects: groups of `local` slices, the last group
/// first.
void plain_sum(const Tensor& slices, std::int64_t local, const Tensor& index,
               const Tensor& residual, const Tensor& out);

}  // namespace tetrarch::backend::cpu
