/// Matrix products y = x w^T: families of kernels, and the choice between them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "backend/backend.hpp"
#include "backend/cpu/kernels/bf16_kernels.hpp"

namespace tetrarch::backend::cpu {

/// One product y = x w^T. x [rows, inputs]; y [rows, outputs]; rows may be 0.
struct Product {
  Tensor x;
  const Matrix* w = nullptr;
  Tensor y;
};

/// A family of product kernels, with the format in which it packs weights. A matrix can only be
/// multiplied by the family that packed it.
class GemmFamily {
 public:
  virtual ~GemmFamily() = default;
  /// Names everything that the bits depend on, for example "portable x86-64-v3" or "oneDNN 2.6.3
  /// brg:avx512_core".
  virtual std::string name() const = 0;
  virtual std::unique_ptr<Matrix> pack(const void* host, base::DType dtype, std::int64_t outputs,
                                       std::int64_t inputs, WeightOrder order) = 0;
  /// As Compute::build_matrix(). This default gathers all rows, then packs them.
  virtual std::unique_ptr<MatrixBuilder> build(base::DType dtype, std::int64_t outputs,
                                               std::int64_t inputs, WeightOrder order);
  /// Bytes that pack() allocates for such a weight.
  virtual std::int64_t packed_bytes(base::DType dtype, std::int64_t outputs,
                                    std::int64_t inputs) const = 0;
  /// Computes all products. y is f32 (the accumulators) or the dtype of x (rounded).
  virtual void multiply(std::span<const Product> products) = 0;
  /// Does all of Compute::grouped_glu() without its working memory. Returns false, and does
  /// nothing, if this family cannot.
  virtual bool multiply_glu(const GluBatch&) { return false; }
};

/// Own kernels for all CPUs. Each y[m][n] is one chain of multiply-adds over k in order, so the
/// bits of a row depend on nothing else. bf16 is widened to f32.
std::unique_ptr<GemmFamily> make_portable_gemm();

/// Own kernels for bf16 on CPUs with AVX512-BF16. Each y[m][n] is one chain over pairs of k in
/// order, so the bits of a row depend on nothing else.
std::unique_ptr<GemmFamily> make_bf16_gemm();

/// Own kernels for bf16 by AMX tiles, or by software tiles with the same bits. Software tiles run
/// on any x86-64 CPU but are slow; they are for tests. Each y[m][n] is one chain over steps of 32
/// inputs.
std::unique_ptr<GemmFamily> make_amx_gemm(TileKind tiles);

/// Thrown when oneDNN has no kernel of the required kind on this CPU.
class NoSuchKernel : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// oneDNN on packed weights. Only in oneDNN's kernels named "brg..." do the bits of a row not
/// depend on the number of rows. With `demand_brg`, multiply() throws NoSuchKernel when oneDNN
/// would use another kernel.
std::unique_ptr<GemmFamily> make_onednn_gemm(bool demand_brg);
/// The version of oneDNN at run time, for example "2.6.3".
std::string onednn_version();
/// The instruction set that oneDNN uses: "avx2", "avx512_core_bf16", ...
std::string onednn_isa();

/// automatic: the rule of choose_gemm(); portable, onednn: this family, for tests.
enum class GemmChoice { automatic, portable, onednn };

/// The chosen family, and messages for the user about the choice.
struct ChosenGemm {
  std::unique_ptr<GemmFamily> family;
  std::vector<std::string> notes;
};
/// Chooses the family of product kernels for a model. With GemmChoice::automatic:
///  bf16: the own bf16 kernels that active_bf16_choice() names, even if oneDNN could use others;
///  f32, or bf16 without own bf16 kernels: oneDNN, if all its kernels for these weights are "brg"
///  kernels and a trial finds the bits of each row equal for all numbers of rows, columns and
///  threads; otherwise the portable family for all weights.
ChosenGemm choose_gemm(GemmChoice choice, base::DType dtype, std::span<const WholeWeight> weights,
                       int num_threads);

}  // namespace tetrarch::backend::cpu
