/// Matrix products y = x w^T: two families of kernels, and the choice between them.
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

/// x [rows, inputs]; y [rows, outputs]; rows may be 0.
struct Product {
  Tensor x;
  const Matrix* w = nullptr;
  Tensor y;
};

class GemmFamily {
 public:
  virtual ~GemmFamily() = default;
  /// "portable x86-64-v3" or "oneDNN 2.6.3 brg:avx512_core": what the bits depend on.
  virtual std::string name() const = 0;
  virtual std::unique_ptr<Matrix> pack(const void* host, base::DType dtype, std::int64_t outputs,
                                       std::int64_t inputs, WeightOrder order) = 0;
  /// As Compute::build_matrix. Here: gathers all rows, then packs them.
  virtual std::unique_ptr<MatrixBuilder> build(base::DType dtype, std::int64_t outputs,
                                               std::int64_t inputs, WeightOrder order);
  /// What pack() allocates.
  virtual std::int64_t packed_bytes(base::DType dtype, std::int64_t outputs,
                                    std::int64_t inputs) const = 0;
  virtual void multiply(std::span<const Product> products) = 0;
  /// All of Compute::grouped_glu in one go, without its scratch; false: not in this family.
  virtual bool multiply_glu(const GluBatch&) { return false; }
};

/// Own kernels: each y[m][n] is one chain of multiply-adds over k in order, so that a row's bits
/// depend on nothing else by construction. bf16 is widened to f32.
std::unique_ptr<GemmFamily> make_portable_gemm();

/// Own kernels for bf16 on CPUs with AVX512-BF16: each y[m][n] is one chain over pairs of k in
/// order, and nothing else decides its bits.
std::unique_ptr<GemmFamily> make_bf16_gemm();

/// Own kernels for bf16 by tiles of Intel's AMX, or by software with the same bits, which any
/// x86-64 CPU can run (slowly: for tests). Each y[m][n] is one chain over steps of 32 inputs.
std::unique_ptr<GemmFamily> make_amx_gemm(TileKind tiles);

/// oneDNN has no kernel of the wanted kind on this CPU.
class NoSuchKernel : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// oneDNN on packed weights. Its rows are alike only in its "brg" kernels: with `demand_brg` every
/// other kernel is refused with NoSuchKernel.
std::unique_ptr<GemmFamily> make_onednn_gemm(bool demand_brg);
/// "2.6.3"
std::string onednn_version();
/// The instruction set that oneDNN would use: "avx2", "avx512_core_bf16", ...
std::string onednn_isa();

enum class GemmChoice { automatic, portable, onednn };

struct ChosenGemm {
  std::unique_ptr<GemmFamily> family;
  std::vector<std::string> notes;
};
/// Automatic: of bf16 the own kernels that active_bf16_choice() names, whatever oneDNN takes the
/// CPU for. Else, and of f32, oneDNN where its kernels for all these weights are "brg" and a trial
/// finds each row the same for every number of rows, columns and threads; else the portable family
/// for all.
ChosenGemm choose_gemm(GemmChoice choice, base::DType dtype, std::span<const WholeWeight> weights,
                       int num_threads);

}  // namespace tetrarch::backend::cpu
