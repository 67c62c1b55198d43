/// What a backend can compute. One contract for all: a call enqueues and returns; work is done in
/// call order; only download() and synchronize() wait.
///
/// Layout-invariant bits: each output row depends on its own input rows alone. Its bits are the
/// same whatever other rows, however many of them, how many columns of the weight and how many
/// threads are computed with it, and at whatever row index it stands.
/// f32 accumulation everywhere; "model dtype" is f32 or bf16, rounded to nearest even where
/// written.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "backend/tensor.hpp"

namespace tetrarch::backend {

/// How a weight lies in memory: nk = [outputs][inputs] as checkpoints have it, kn = its transpose.
enum class WeightOrder { nk, kn };
enum class ActivationKind { silu, gelu_tanh, gelu };

/// A weight prepared for products, in whatever form the backend likes best.
class Matrix {
 public:
  Matrix(std::int64_t outputs, std::int64_t inputs) : outputs_(outputs), inputs_(inputs) {}
  virtual ~Matrix() = default;
  std::int64_t outputs() const { return outputs_; }
  std::int64_t inputs() const { return inputs_; }
  virtual std::int64_t bytes() const = 0;

 private:
  std::int64_t outputs_, inputs_;
};

/// A weight in the making: its host rows come in order, any number of them at a time.
class MatrixBuilder {
 public:
  virtual ~MatrixBuilder() = default;
  /// The next `count` rows, dense; they are free for reuse on return.
  virtual void add(const void* rows, std::int64_t count) = 0;
  /// When all rows have come.
  virtual std::unique_ptr<Matrix> take() = 0;
};

/// A run of rows of one sequence. Its queries stand at rows [row, row + count) of `query` and have
/// the positions first_position, first_position + 1, ...; the keys and values of positions
/// 0 .. first_position + count - 1 stand at rows [key_row, key_row + first_position + count).
struct Segment {
  std::int64_t row = 0;
  std::int64_t count = 0;
  std::int64_t first_position = 0;
  std::int64_t key_row = 0;
};

struct AttentionShape {
  std::int64_t num_heads = 0;     // local; query head h uses kv head h * num_kv_heads / num_heads
  std::int64_t num_kv_heads = 0;  // local
  std::int64_t head_size = 0;
  float scale = 1;
  std::int64_t window = 0;  // 0: all keys j <= i; W: keys with i - W < j <= i
};

/// For each group g the rows [row_offset[g], row_offset[g + 1]) of x:
/// out = round(round(act(round(x gate[g]^T))) * round(x up[g]^T)), or, without gates,
/// out = round(act(round(x up[g]^T))).
struct GluBatch {
  Tensor x;                                  // [rows, inputs]
  std::span<const Matrix* const> gate = {};  // [F, inputs] each; none: networks of two matrices
  std::span<const Matrix* const> up;         // [F, inputs] each
  std::span<const std::int64_t> row_offset;
  ActivationKind kind = ActivationKind::silu;
  Tensor gate_rows = {}, up_rows;  // [rows, F], to scribble on; gate_rows only with gates
  Tensor out;                      // [slices][rows][F / slices]
};

/// Statistics of one row of logits over one vocabulary slice.
struct SliceStats {
  float max;             // the largest logit
  float sum_exp;         // sum of exp(logit - max), in one fixed order
  std::int32_t best_id;  // token id of the largest logit; ties: the lower id
  float target;          // logit of the target token, or 0 when it lies in another slice
};

class Compute {
 public:
  virtual ~Compute() = default;

  /// Prepares a weight of f32 or bf16. Its host rows are the `outputs` ones of `inputs` elements,
  /// or, with order kn, the other way round.
  virtual std::unique_ptr<MatrixBuilder> build_matrix(base::DType dtype, std::int64_t outputs,
                                                      std::int64_t inputs, WeightOrder order) = 0;
  /// The same, of rows that lie together.
  std::unique_ptr<Matrix> pack(const void* host, base::DType dtype, std::int64_t outputs,
                               std::int64_t inputs, WeightOrder order) {
    const auto builder = build_matrix(dtype, outputs, inputs, order);
    builder->add(host, order == WeightOrder::nk ? outputs : inputs);
    return builder->take();
  }
  /// What bytes() of such a weight will be.
  virtual std::int64_t packed_bytes(base::DType dtype, std::int64_t outputs,
                                    std::int64_t inputs) const = 0;
  /// y = x w^T. x [rows, inputs] model dtype; y [rows, outputs] model dtype (rounded) or f32 (the
  /// accumulators).
  virtual void gemm(const Tensor& x, const Matrix& w, const Tensor& y) = 0;
  /// For each group g rows [row_offset[g], row_offset[g + 1]) of x times w[g]; groups may be empty.
  virtual void grouped_gemm(const Tensor& x, std::span<const Matrix* const> w,
                            std::span<const std::int64_t> row_offset, const Tensor& y) = 0;

  /// y = round(weight * round(x / sqrt(mean(x^2) + eps))), per row; weight [1, columns].
  /// y may be x.
  virtual void rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y) = 0;
  /// Rotates the first 2 * half dimensions of each head in place, pairs (j, j + half); cosine, sine
  /// [positions, half] f32; position [rows, 1] i32. Computed in f32, rounded once.
  virtual void rope(const Tensor& x, std::int64_t head_size, const Tensor& position,
                    const Tensor& cosine, const Tensor& sine) = 0;
  /// Causal attention per segment and local head, blocked over keys, never a [T x T] matrix.
  /// query [rows, num_heads * d]; key, value [key rows, num_kv_heads * d]; model dtype.
  /// out [slices][rows][num_heads / slices * d]: heads in order, so that a slice is dense.
  /// Key blocks count from position 0 of the sequence and are always processed at full size;
  /// missing and masked keys have probability exactly 0, missing ones as zero rows. A key or value
  /// that is not finite makes NaN of the rows that see it, and reaches no other.
  virtual void attention(const AttentionShape& shape, const Tensor& query, const Tensor& key,
                         const Tensor& value, std::span<const Segment> segments,
                         const Tensor& out) = 0;
  /// The inner rows of feed-forward networks, see GluBatch.
  virtual void grouped_glu(const GluBatch& batch) = 0;

  /// Softmax over all experts, then the top_k most likely (ties: the lower expert id), their
  /// probabilities, divided by their sum if `renormalise`, times `scale`.
  /// logits [rows, experts] f32; expert_id [rows, k] i32, most likely first; gate_weight [rows, k].
  virtual void softmax_top_k(const Tensor& logits, bool renormalise, float scale,
                             const Tensor& expert_id, const Tensor& gate_weight) = 0;
  /// Orders all copies by (expert, top-k slot, row). An expert id of -1 is no copy.
  /// order [copies, 1] i32: row of each copy; position [rows, k] i32: where each copy went, -1
  /// where there is none; count [1, experts] i32: copies of each expert.
  virtual void group_by_expert(const Tensor& expert_id, const Tensor& order, const Tensor& position,
                               const Tensor& count) = 0;
  /// to = from; equal extents.
  virtual void copy(const Tensor& from, const Tensor& to) = 0;
  /// to[i] = from[index[i]]; index [to.rows, 1] i32.
  virtual void permute_rows(const Tensor& from, const Tensor& index, const Tensor& to) = 0;
  /// out[t] = round(residual[t] + sum over slots s, in order, of weight[t, s] * rows[position[t,
  /// s]]); a position of -1 adds nothing.
  virtual void combine(const Tensor& rows, const Tensor& position, const Tensor& gate_weight,
                       const Tensor& residual, const Tensor& out) = 0;

  /// Per row and vocabulary slice the SliceStats, stored as 4 i32 columns each.
  /// logits [rows, sum of slice_size] f32, first column = token id `first_id`; target [rows, 1] i32
  /// global ids; stats [rows, 4 * slices] i32.
  virtual void vocabulary_stats(const Tensor& logits, std::span<const std::int64_t> slice_size,
                                std::int64_t first_id, const Tensor& target,
                                const Tensor& stats) = 0;
  /// Per row the k largest logits, by falling logit, then rising id.
  /// logits [rows, columns] f32, first column = token id `first_id`
  /// top [rows, 2 * k] i32: k ids, then the bits of their logits; with fewer columns than k the
  /// rest has id -1 and -infinity
  virtual void largest_logits(const Tensor& logits, std::int64_t first_id, const Tensor& top) = 0;
  /// flag [rows, 1] i32: 1 where all of the row is finite, else 0.
  virtual void row_is_finite(const Tensor& x, const Tensor& flag) = 0;

  /// Host -> backend memory; the host bytes are free for reuse on return.
  virtual void upload(const void* host, const Tensor& to) = 0;
  /// Backend memory -> host; waits until the bytes are there.
  virtual void download(const Tensor& from, void* host) = 0;
  virtual void synchronize() = 0;
};

}  // namespace tetrarch::backend
