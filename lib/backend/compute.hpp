/// The operations that a backend computes. A call enqueues the operation and returns. Operations
/// are done in call order. Only download() and synchronize() wait.
/// Layout-invariant bits: an output row depends on its own input rows only. Its bits do not change
/// with the other rows of the call, with the number of rows, with the number of columns of the
/// weight that are computed, with the number of threads, or with its row index.
/// Sums are accumulated in f32. "Model dtype" is f32 or bf16. "round" means rounding to the model
/// dtype, to nearest, ties to even; it happens where a value is written to memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "backend/tensor.hpp"

namespace tetrarch::backend {

/// How a weight is stored: nk = [outputs][inputs], as in Hugging Face checkpoints; kn =
/// [inputs][outputs], its transpose.
enum class WeightOrder { nk, kn };
/// silu: x / (1 + exp(-x)); gelu: x * (1 + erf(x / sqrt(2))) / 2; gelu_tanh: gelu's approximation
/// by tanh.
enum class ActivationKind { silu, gelu_tanh, gelu };

/// A weight [outputs, inputs] prepared for products. The memory format is the backend's own.
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

/// Builds a Matrix from host rows. The rows come in order; each call may bring any number of them.
class MatrixBuilder {
 public:
  virtual ~MatrixBuilder() = default;
  /// Adds the next `count` rows, stored without gaps. The caller may reuse the memory of `rows`
  /// after the call.
  virtual void add(const void* rows, std::int64_t count) = 0;
  /// Returns the finished weight. All rows must have been added.
  virtual std::unique_ptr<Matrix> take() = 0;
};

/// Consecutive query rows of one sequence. The queries are rows [row, row + count) of `query`;
/// their positions in the sequence are first_position, first_position + 1, ... The keys and values
/// of positions 0 .. first_position + count - 1 are rows [key_row, key_row + first_position +
/// count) of `key` and `value`.
struct Segment {
  std::int64_t row = 0;
  std::int64_t count = 0;
  std::int64_t first_position = 0;
  std::int64_t key_row = 0;
};

/// The heads of an attention call, and which keys a query attends to.
struct AttentionShape {
  // of this rank; query head h uses kv head h * num_kv_heads / num_heads
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;  // of this rank
  std::int64_t head_size = 0;
  float scale = 1;
  std::int64_t window = 0;  // query i sees 0: all keys j <= i; W: keys i - W < j <= i
};

/// The arguments of grouped_glu(). Group g (an expert) has the rows [row_offset[g], row_offset[g +
/// 1]) of x. With gates, out = round(round(act(round(x gate[g]^T))) * round(x up[g]^T)). Without
/// gates, out = round(act(round(x up[g]^T))).
struct GluBatch {
  Tensor x;  // [rows, inputs]
  // [F, inputs] each; empty: two-matrix networks, without gates
  std::span<const Matrix* const> gate = {};
  std::span<const Matrix* const> up;  // [F, inputs] each
  std::span<const std::int64_t> row_offset;
  ActivationKind kind = ActivationKind::silu;
  Tensor gate_rows = {}, up_rows;  // [rows, F], working memory; gate_rows only with gates
  Tensor out;                      // [slices][rows][F / slices]
};

/// Statistics of the logits of one row over one vocabulary slice.
struct SliceStats {
  float max;             // the largest logit
  float sum_exp;         // sum of exp(logit - max), in a fixed order
  std::int32_t best_id;  // token id of the largest logit; of equal logits, the lowest id
  float target;          // logit of the target token, or 0 when the token is in another slice
};

/// The operations of a backend. Shapes are checked: operands that do not fit throw InternalError.
/// The values in tensors of indices are checked only if base::has_debug_checks.
class Compute {
 public:
  virtual ~Compute() = default;

  /// Returns a builder for a weight of f32 or bf16. With order nk the host rows are `outputs` rows
  /// of `inputs` elements; with order kn they are `inputs` rows of `outputs` elements.
  virtual std::unique_ptr<MatrixBuilder> build_matrix(base::DType dtype, std::int64_t outputs,
                                                      std::int64_t inputs, WeightOrder order) = 0;
  /// Builds a weight from all its host rows, stored one after another.
  std::unique_ptr<Matrix> pack(const void* host, base::DType dtype, std::int64_t outputs,
                               std::int64_t inputs, WeightOrder order) {
    const auto builder = build_matrix(dtype, outputs, inputs, order);
    builder->add(host, order == WeightOrder::nk ? outputs : inputs);
    return builder->take();
  }
  /// The value that Matrix::bytes() of such a weight will have.
  virtual std::int64_t packed_bytes(base::DType dtype, std::int64_t outputs,
                                    std::int64_t inputs) const = 0;
  /// y = x w^T. x [rows, inputs] model dtype; y [rows, outputs], model dtype (rounded) or f32 (the
  /// accumulated sums, not rounded).
  virtual void gemm(const Tensor& x, const Matrix& w, const Tensor& y) = 0;
  /// For each group g, multiplies rows [row_offset[g], row_offset[g + 1]) of x by w[g]. Groups may
  /// be empty. Shapes as in gemm().
  virtual void grouped_gemm(const Tensor& x, std::span<const Matrix* const> w,
                            std::span<const std::int64_t> row_offset, const Tensor& y) = 0;

  /// y = round(weight * round(x / sqrt(mean(x^2) + eps))), for each row. weight [1, columns]; y may
  /// be the same tensor as x.
  virtual void rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y) = 0;
  /// Rotary position embedding, in place. Rotates the first 2 * half dimensions of each head, in
  /// pairs (j, j + half), by the angle of the row's position. cosine, sine [positions, half] f32;
  /// position [rows, 1] i32. Computed in f32, rounded once.
  virtual void rope(const Tensor& x, std::int64_t head_size, const Tensor& position,
                    const Tensor& cosine, const Tensor& sine) = 0;
  /// Causal attention of each segment and each head of this rank. Computed in blocks of keys; a [T
  /// x T] matrix of scores is never stored.
  /// query [rows, num_heads * d]; key, value [key rows, num_kv_heads * d]; model dtype.
  /// out [slices][rows][num_heads / slices * d]: heads in order, so that a slice is dense.
  /// Key blocks are counted from position 0 of the sequence and are always processed at full size.
  /// Missing keys count as rows of zeros. Missing and masked keys have probability exactly 0. A key
  /// or value that is not finite makes NaN of the rows that attend to it, and does not change other
  /// rows.
  virtual void attention(const AttentionShape& shape, const Tensor& query, const Tensor& key,
                         const Tensor& value, std::span<const Segment> segments,
                         const Tensor& out) = 0;
  /// The hidden rows of feed-forward networks, before the down projection; see GluBatch.
  virtual void grouped_glu(const GluBatch& batch) = 0;

  /// Chooses experts: softmax over all experts, then the top_k experts of the highest probability
  /// (of equal ones, the lower expert id). The gate weights are their probabilities, divided by
  /// their sum if `renormalise`, then multiplied by `scale`.
  /// logits [rows, experts] f32; expert_id [rows, k] i32, most likely first; gate_weight [rows, k]
  /// f32.
  virtual void softmax_top_k(const Tensor& logits, bool renormalise, float scale,
                             const Tensor& expert_id, const Tensor& gate_weight) = 0;
  /// Sorts the copies of all rows by (expert, top-k slot, row). A copy is one (row, slot) with an
  /// expert id; an expert id of -1 is no copy.
  /// order [copies, 1] i32: the row of each copy. position [rows, k] i32: the index of each copy in
  /// `order`, -1 where there is no copy. count [1, experts] i32: number of copies of each expert.
  virtual void group_by_expert(const Tensor& expert_id, const Tensor& order, const Tensor& position,
                               const Tensor& count) = 0;
  /// to = from. Both have the same shape and dtype.
  virtual void copy(const Tensor& from, const Tensor& to) = 0;
  /// to[i] = from[index[i]]; index [to.rows, 1] i32.
  virtual void permute_rows(const Tensor& from, const Tensor& index, const Tensor& to) = 0;
  /// out[t] = round(residual[t] + sum of gate_weight[t, s] * rows[position[t, s]] over the slots s,
  /// in order). A position of -1 adds nothing. `residual` may be absent.
  virtual void combine(const Tensor& rows, const Tensor& position, const Tensor& gate_weight,
                       const Tensor& residual, const Tensor& out) = 0;

  /// Computes SliceStats for each row and vocabulary slice; each is stored as 4 i32 columns.
  /// logits [rows, sum of slice_size] f32, where column 0 is token id `first_id`; target [rows, 1]
  /// i32, global token ids; stats [rows, 4 * slices] i32.
  virtual void vocabulary_stats(const Tensor& logits, std::span<const std::int64_t> slice_size,
                                std::int64_t first_id, const Tensor& target,
                                const Tensor& stats) = 0;
  /// Finds the k largest logits of each row: highest logit first, of equal ones the lower id first.
  /// logits [rows, columns] f32; column 0 is token id `first_id`
  /// top [rows, 2 * k] i32: k ids, then the bits of their k logits. If columns < k, the entries
  /// that are left over have id -1 and logit -infinity.
  virtual void largest_logits(const Tensor& logits, std::int64_t first_id, const Tensor& top) = 0;
  /// flag [rows, 1] i32: 1 if all values of the row are finite, else 0.
  virtual void row_is_finite(const Tensor& x, const Tensor& flag) = 0;

  /// Copies from host memory to backend memory. The caller may reuse the host memory after the
  /// call.
  virtual void upload(const void* host, const Tensor& to) = 0;
  /// Copies from backend memory to host memory. Waits until the bytes have arrived.
  virtual void download(const Tensor& from, void* host) = 0;
  virtual void synchronize() = 0;
};

}  // namespace tetrarch::backend
