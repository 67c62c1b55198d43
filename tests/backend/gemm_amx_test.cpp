// The bits of products by tiles are those of a plain loop over the arithmetic of one
// multiplication, for values of every kind. AMX tiles and software tiles give the same bits.
// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <bit>
#include <cmath>
#include <random>

#include <gtest/gtest.h>
#include <omp.h>

#include "backend/arrays.hpp"
#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/memory.hpp"
#include "backend/cpu/kernels/testing.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::bf16;
using base::DType;

// The arithmetic of one multiplication, step by step.

/// Replaces a denormal value by a zero of the same sign.
float without_denormal(float value) {
  return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
}

/// x * w + addend, rounded once to f32, with denormals as zeros. x and w are widened from bf16. The
/// result counts as denormal if it is below 2^-126 after rounding to 24 bits with an unbounded
/// exponent; a double is exact enough to decide this.
float fused(float x, float w, float addend) {
  x = without_denormal(x);
  w = without_denormal(w);
  const float value = std::fma(x, w, addend);
  const double exact = static_cast<double>(x) * w + addend;
  if (std::abs(value) <= 0x1p-126f && std::abs(exact) < 0x1p-126 - 0x1p-151)
    return std::copysign(0.0f, value);
  return value;
}

/// Returns sum + the products of 32 inputs.
float add_step(float sum, const float* x, const float* w) {
  float even = 0, odd = 0;
  for (int i = 0; i < 32; i += 2) {
    even = fused(x[i], w[i], even);
    odd = fused(x[i + 1], w[i + 1], odd);
  }
  return without_denormal(sum + without_denormal(even + odd));
}

/// Replaces every NaN by the same NaN.
float with_one_nan(float value) {
  return std::isnan(value) ? std::numeric_limits<float>::quiet_NaN() : value;
}

float dot(const bf16* x, const bf16* w, std::int64_t inputs) {
  float sum = 0;
  for (std::int64_t k = 0; k < inputs; k += 32) {
    float a[32] = {}, b[32] = {};
    for (std::int64_t i = 0; i < std::min<std::int64_t>(32, inputs - k); ++i) {
      a[i] = base::to_float(x[k + i]);
      b[i] = base::to_float(w[k + i]);
    }
    sum = add_step(sum, a, b);
  }
  return with_one_nan(sum);
}

// Random values of each kind.

enum class Kind { tame, any_bits, denormal_products, special };
constexpr Kind kinds[] = {Kind::tame, Kind::any_bits, Kind::denormal_products, Kind::special};

class Values {
 public:
  explicit Values(std::uint32_t seed) : engine_(seed) {}

  std::uint32_t below(std::uint32_t bound) { return engine_() % bound; }

  bf16 one(Kind kind) {
    const auto bits = static_cast<std::uint16_t>(engine_());
    const auto with_exponent = [&](std::uint32_t exponent) {
      return bf16{static_cast<std::uint16_t>((bits & 0x807fu) | exponent << 7)};
    };
    switch (kind) {
      case Kind::tame:
        return with_exponent(120 + below(8));
      case Kind::any_bits:
        return {bits};
      case Kind::denormal_products:
        return with_exponent(61 + below(5));
      case Kind::special:
        break;
    }
    switch (below(64)) {
      case 0:
        return {0x7f80};  // infinity
      case 1:
        return {0xff80};
      case 2:
        return with_exponent(255);  // or NaN
      case 3:
        return with_exponent(254);  // huge
      case 4:
        return with_exponent(1);  // tiny
      case 5:
        return with_exponent(0);  // denormal
      case 6:
        return {static_cast<std::uint16_t>(bits & 0x8000u)};  // a zero
      default:
        return with_exponent(124 + below(6));
    }
  }

  std::vector<bf16> many(std::int64_t count, Kind kind) {
    std::vector<bf16> values(static_cast<std::size_t>(count));
    for (bf16& value : values)
      value = one(kind);
    return values;
  }

 private:
  std::mt19937 engine_;
};

/// Rows in memory that is aligned to a cache line, or not. Aligned rows may be read in place;
/// others are copied.
class Rows {
 public:
  Rows(const std::vector<bf16>& values, std::int64_t columns, bool is_aligned)
      : memory_(static_cast<std::int64_t>(values.size()) * 2 + 64),
        tensor_{static_cast<std::byte*>(memory_.data()) + (is_aligned ? 0 : 6), DType::bf16, 1,
                static_cast<std::int64_t>(values.size()) / columns, columns} {
    std::memcpy(tensor_.data, values.data(), values.size() * 2);
  }
  const Tensor& tensor() const { return tensor_; }

 private:
  HostMemory memory_;
  Tensor tensor_;
};

std::string why_no_amx() {
  const CpuFacts cpu = read_cpu_facts();
  return cpu.has_amx ? "this CPU's AMX cannot be used: " + cpu.amx_refusal : "this CPU has no AMX";
}

struct Sizes {
  std::int64_t rows, outputs, inputs;
};

class TileGemm : public ::testing::TestWithParam<Bf16Kernels> {
 protected:
  void SetUp() override {
    if (!testing::has_bf16_kernels(GetParam()))
      GTEST_SKIP() << (GetParam() == Bf16Kernels::amx ? why_no_amx() : "this CPU is not x86-64");
    best_ = simd::active_isa();
    compute_ = std::make_unique<CpuCompute>(make_amx_gemm(tiles()));
  }
  void TearDown() override {
    if (compute_) testing::set_isa(best_);
    omp_set_num_threads(2);
  }
  TileKind tiles() const {
    return GetParam() == Bf16Kernels::amx ? TileKind::amx : TileKind::software;
  }

  std::unique_ptr<Matrix> pack(const std::vector<bf16>& w, std::int64_t inputs) {
    return compute_->pack(w.data(), DType::bf16, static_cast<std::int64_t>(w.size()) / inputs,
                          inputs, WeightOrder::nk);
  }

  void expect_model(const Sizes& size, Kind kind, bool is_aligned) {
    const auto x = values_.many(size.rows * size.inputs, kind);
    const auto w = values_.many(size.outputs * size.inputs, kind);
    const auto packed = pack(w, size.inputs);
    const Rows rows(x, size.inputs, is_aligned);
    Array f32(DType::f32, size.rows, size.outputs), half(DType::bf16, size.rows, size.outputs);

    compute_->gemm(rows.tensor(), *packed, f32);
    compute_->gemm(rows.tensor(), *packed, half);

    for (std::int64_t m = 0; m < size.rows; ++m)
      for (std::int64_t n = 0; n < size.outputs; ++n) {
        const float expected =
            dot(x.data() + m * size.inputs, w.data() + n * size.inputs, size.inputs);
        const std::int64_t at = m * size.outputs + n;
        ASSERT_EQ(std::bit_cast<std::uint32_t>(f32[at]), std::bit_cast<std::uint32_t>(expected))
            << size.rows << " x " << size.outputs << " x " << size.inputs << ", kind "
            << static_cast<int>(kind) << ", row " << m << ", output " << n;
        ASSERT_EQ(half.tensor().as<bf16>()[at].bits, base::to_bf16(expected).bits);
      }
  }

  simd::Isa best_ = simd::Isa::any;
  std::unique_ptr<CpuCompute> compute_;
  Values values_{1};
};
INSTANTIATE_TEST_SUITE_P(Tiles, TileGemm,
                         ::testing::Values(Bf16Kernels::amx_software, Bf16Kernels::amx),
                         [](const auto& test) {
                           return test.param == Bf16Kernels::amx ? "Amx" : "Software";
                         });

TEST_P(TileGemm, EveryNumberOfRowsHasTheModelsBits) {
  for (std::int64_t rows = 1; rows <= 70; ++rows)
    for (const Kind kind : kinds) {
      omp_set_num_threads(static_cast<int>(1 + values_.below(3)));
      const std::int64_t outputs = 1 + values_.below(70);
      const std::int64_t inputs =
          values_.below(3) == 0 ? 32 * (1 + values_.below(6)) : 1 + values_.below(200);
      expect_model({rows, outputs, inputs}, kind, values_.below(2) == 0);
    }
}

TEST_P(TileGemm, SumsThatWaitInMemoryHaveTheModelsBits) {
  for (const std::int64_t inputs : {512, 513, 544, 1100})
    for (const bool is_aligned : {true, false})
      expect_model({67, 35, inputs}, Kind::tame, is_aligned);
  expect_model({600, 33, 64}, Kind::tame, true);  // two units of rows
  // used by many blocks: copied although aligned
  expect_model({49, 330, 192}, Kind::special, true);
  expect_model({200, 130, 4200}, Kind::tame, true);  // inputs in chunks
  expect_model({70, 37, 14336}, Kind::special, false);
  omp_set_num_threads(1);
  expect_model({100, 300, 4200}, Kind::tame, true);  // chunks of inputs, each times several blocks
}

TEST_P(TileGemm, EveryInstructionSetBesideTheTilesHasTheModelsBits) {
  // tiles of the CPU are used beside AVX-512 only: there is no other set to compare
  if (GetParam() == Bf16Kernels::amx) return;
  for (const auto isa : {simd::Isa::any, simd::Isa::v3, simd::Isa::v4}) {
    if (isa > best_) continue;
    testing::set_isa(isa);
    for (const Kind kind : kinds)
      expect_model({37, 21, 77}, kind, true);
  }
}

/// The rows of experts have the same bits in one call for all experts, in a call for one expert,
/// and in a call for each row.
TEST_P(TileGemm, RowsOfExpertsHaveTheSameBitsAloneAndTogether) {
  constexpr std::int64_t sizes[] = {0, 1, 16, 5, 64, 33, 0, 48, 17}, K = 70, F = 40;
  std::vector<std::int64_t> offset = {0};
  std::vector<std::unique_ptr<Matrix>> owned;
  std::vector<const Matrix*> gate, up;
  for (const std::int64_t size : sizes) {
    offset.push_back(offset.back() + size);
    for (auto* list : {&gate, &up}) {
      owned.push_back(pack(values_.many(F * K, Kind::special), K));
      list->push_back(owned.back().get());
    }
  }
  const std::int64_t rows = offset.back();
  const Rows x(values_.many(rows * K, Kind::special), K, true);
  Array scratch(DType::bf16, rows, F);
  const auto run = [&](const Tensor& of, std::span<const Matrix* const> gates,
                       std::span<const Matrix* const> ups, std::span<const std::int64_t> offsets,
                       ActivationKind kind, std::int64_t slices, const Tensor& out) {
    const Tensor unused{scratch.tensor().data, DType::bf16, 1, of.rows, F};
    compute_->grouped_glu({of, gates, ups, offsets, kind, unused, unused, out});
    ASSERT_EQ(out.slices, slices);
  };
  for (const auto kind : {ActivationKind::silu, ActivationKind::gelu, ActivationKind::gelu_tanh})
    for (const bool has_gate : {true, false})
      for (const std::int64_t slices : {1, 4}) {
        const std::span<const Matrix* const> gates =
            has_gate ? std::span<const Matrix* const>(gate) : std::span<const Matrix* const>();
        Array together(DType::bf16, rows, F / slices, slices);
        omp_set_num_threads(1);
        run(x.tensor(), gates, up, offset, kind, slices, together);
        for (const int threads : {2, 3, 7}) {
          omp_set_num_threads(threads);
          Array again(DType::bf16, rows, F / slices, slices);
          run(x.tensor(), gates, up, offset, kind, slices, again);
          EXPECT_EQ(num_differences(again, together), 0) << threads << " threads";
        }
        for (std::size_t g = 0; g < up.size(); ++g)
          for (std::int64_t row = offset[g]; row < offset[g + 1]; ++row) {
            constexpr std::int64_t one[] = {0, 1};
            Array alone(DType::bf16, 1, F / slices, slices);
            run(x.tensor().row_range(row, 1), has_gate ? gates.subspan(g, 1) : gates,
                std::span<const Matrix* const>(up).subspan(g, 1), one, kind, slices, alone);
            for (std::int64_t s = 0; s < slices; ++s)
              ASSERT_TRUE(has_same_bits(alone.tensor().slice(s),
                                        together.tensor().slice(s).row_range(row, 1)))
                  << "row " << row << ", slice " << s;
          }
      }
}

TEST(TileGemmOfTheCpu, HasTheBitsOfSoftwareTiles) {
  if (!testing::has_bf16_kernels(Bf16Kernels::amx)) GTEST_SKIP() << why_no_amx();
  Values values(7);
  constexpr std::int64_t rows = 61, F = 70, K = 199;
  const std::vector<std::int64_t> offset = {0, 20, rows};
  const Rows x(values.many(rows * K, Kind::special), K, true);
  const auto w = values.many(4 * F * K, Kind::special);
  std::vector<Array> results;
  for (const TileKind tiles : {TileKind::amx, TileKind::software}) {
    CpuCompute compute(make_amx_gemm(tiles));
    std::vector<std::unique_ptr<Matrix>> owned;
    std::vector<const Matrix*> gate, up;
    for (std::int64_t i = 0; i < 4; ++i) {
      owned.push_back(compute.pack(w.data() + i * F * K, DType::bf16, F, K, WeightOrder::nk));
      (i % 2 == 0 ? gate : up).push_back(owned.back().get());
    }
    Array scratch(DType::bf16, rows, F);
    for (const auto kind :
         {ActivationKind::silu, ActivationKind::gelu, ActivationKind::gelu_tanh}) {
      results.emplace_back(DType::bf16, rows, F / 2, 2);
      compute.grouped_glu({x.tensor(), gate, up, offset, kind, scratch, scratch, results.back()});
    }
    results.emplace_back(DType::f32, rows, F);
    compute.grouped_gemm(x.tensor(), up, offset, results.back());
  }
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(num_differences(results[i], results[4 + i]), 0) << i;
}

}  // namespace
}  // namespace tetrarch::backend::cpu
