// Products are compared with plain sums in f64. The bits of a row do not depend on the other rows,
// columns and threads.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <functional>

#include <gtest/gtest.h>
#include <omp.h>

#include "backend/arrays.hpp"
#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/testing.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

/// The largest |y - x w^T| divided by the sum of |x| |w| of that element.
double worst_error(const Array& x, const Array& w, const Array& y) {
  double worst = 0;
  const std::int64_t K = x.tensor().columns, N = w.tensor().rows;
  for (std::int64_t m = 0; m < x.tensor().rows; ++m)
    for (std::int64_t n = 0; n < N; ++n) {
      double sum = 0, size = 1e-30;
      for (std::int64_t k = 0; k < K; ++k) {
        const double product = static_cast<double>(x.at(m, k)) * w.at(n, k);
        sum += product;
        size += std::abs(product);
      }
      worst = std::max(worst, std::abs(y.at(m, n) - sum) / size);
    }
  return worst;
}

Array multiply(CpuCompute& compute, const Array& x, const Array& w, DType out) {
  const Tensor& weight = w;
  const auto packed =
      compute.pack(w.data(), weight.dtype, weight.rows, weight.columns, WeightOrder::nk);
  Array y(out, x.tensor().rows, weight.rows);
  compute.gemm(x, *packed, y);
  return y;
}

Array transposed(const Array& w) {
  const Tensor& t = w;
  Array to(t.dtype, t.columns, t.rows);
  for (std::int64_t i = 0; i < t.rows; ++i)
    for (std::int64_t j = 0; j < t.columns; ++j)
      to.set(j * t.rows + i, w.at(i, j));
  return to;
}

Tensor rows_of(const Array& x, std::int64_t begin, std::int64_t count) {
  return x.tensor().row_range(begin, count);
}

/// A family of own kernels and a dtype that it multiplies.
struct Family {
  std::string name;
  DType dtype;
  std::function<std::unique_ptr<GemmFamily>()> make;
};

std::vector<Family> own_families() {
  std::vector<Family> families = {{"f32", DType::f32, make_portable_gemm},
                                  {"bf16", DType::bf16, make_portable_gemm}};
  if (testing::has_bf16_kernels(Bf16Kernels::avx512_bf16))
    families.push_back({"bf16_instructions", DType::bf16, make_bf16_gemm});
  if (testing::has_bf16_kernels(Bf16Kernels::amx))
    families.push_back({"amx", DType::bf16, [] { return make_amx_gemm(TileKind::amx); }});
  if (testing::has_bf16_kernels(Bf16Kernels::amx_software))
    families.push_back(
        {"software_tiles", DType::bf16, [] { return make_amx_gemm(TileKind::software); }});
  return families;
}

class Gemm : public ::testing::TestWithParam<Family> {
 protected:
  void TearDown() override { omp_set_num_threads(2); }
  DType dtype() const { return GetParam().dtype; }
  CpuCompute compute_{GetParam().make()};
};
INSTANTIATE_TEST_SUITE_P(Families, Gemm, ::testing::ValuesIn(own_families()),
                         [](const auto& test) { return test.param.name; });

TEST_P(Gemm, IsRightForOddSizes) {
  struct Size {
    std::int64_t rows, outputs, inputs;
  };
  for (const Size size :
       {Size{1, 1, 1}, Size{1, 16, 8}, Size{5, 17, 3}, Size{13, 31, 257}, Size{6, 16, 256},
        Size{7, 48, 520}, Size{150, 70, 33}, Size{400, 80, 40}, Size{14, 65, 4101}}) {
    const auto x = Array::random(dtype(), size.rows, size.inputs, 1);
    const auto w = Array::random(dtype(), size.outputs, size.inputs, 2);

    const Array f32 = multiply(compute_, x, w, DType::f32);
    const Array model = multiply(compute_, x, w, dtype());

    EXPECT_LT(worst_error(x, w, f32), 2e-6) << size.rows << " " << size.outputs;
    for (std::int64_t i = 0; i < f32.size(); ++i)
      ASSERT_EQ(model[i], rounded(f32[i], dtype()));
  }
}

TEST_P(Gemm, TakesAWeightInEitherOrder) {
  const auto x = Array::random(dtype(), 9, 40, 1), w = Array::random(dtype(), 50, 40, 2);
  const Array turned = transposed(w);
  const Array expected = multiply(compute_, x, w, DType::f32);

  const auto packed = compute_.pack(turned.data(), dtype(), 50, 40, WeightOrder::kn);
  Array y(DType::f32, 9, 50);
  compute_.gemm(x, *packed, y);

  EXPECT_EQ(num_differences(y, expected), 0);
  EXPECT_GE(packed->bytes(), 50 * 40 * base::size_of(dtype()));
}

TEST_P(Gemm, TakesAWeightRowByRowOrInPieces) {
  const auto x = Array::random(dtype(), 3, 40, 1), w = Array::random(dtype(), 50, 40, 2);
  const Array turned = transposed(w), expected = multiply(compute_, x, w, DType::f32);
  for (const WeightOrder order : {WeightOrder::nk, WeightOrder::kn})
    for (const std::int64_t step : {1, 7, 16, 33}) {
      const Tensor from = order == WeightOrder::nk ? w.tensor() : turned.tensor();
      const auto builder = compute_.build_matrix(dtype(), 50, 40, order);
      for (std::int64_t row = 0; row < from.rows; row += step) {
        const std::int64_t count = std::min(step, from.rows - row);
        builder->add(from.row_range(row, count).data, count);
      }
      const auto packed = builder->take();
      Array y(DType::f32, 3, 50);
      compute_.gemm(x, *packed, y);

      EXPECT_EQ(num_differences(y, expected), 0) << step;
      EXPECT_EQ(packed->bytes(), compute_.packed_bytes(dtype(), 50, 40));
    }
}

TEST_P(Gemm, RowBitsDependOnNothingElse) {
  const std::int64_t most = 300, K = 650, N = 136;
  const auto x = Array::random(dtype(), most, K, 3), w = Array::random(dtype(), N, K, 4);
  const Array whole = multiply(compute_, x, w, DType::f32);

  for (const int threads : {1, 2, 3})
    for (const std::int64_t slice : {N, N / 2, N / 4, N / 8})
      for (const std::int64_t rows : {1, 2, 6, 7, 13, 64, 145, 289}) {
        omp_set_num_threads(threads);
        const std::int64_t first = most - rows, column = N - slice;
        const auto packed = compute_.pack(w.tensor().row_range(column, slice).data, dtype(), slice,
                                          K, WeightOrder::nk);
        Array y(DType::f32, rows, slice);

        compute_.gemm(rows_of(x, first, rows), *packed, y);

        for (std::int64_t m = 0; m < rows; ++m)
          ASSERT_EQ(std::memcmp(y.tensor().as<float>() + m * slice,
                                whole.tensor().as<float>() + (first + m) * N + column,
                                static_cast<std::size_t>(slice) * 4),
                    0)
              << threads << " threads, " << slice << " outputs, row " << m << " of " << rows;
      }
}

TEST_P(Gemm, EachElementIsOneChainInOrder) {
  // 1 + 2^-30 - 1: a chain in the order of k loses the small value; other orders keep it
  const std::int64_t K = 300;
  Array x(dtype(), 7, K), w(dtype(), 20, K);
  for (std::int64_t m = 0; m < 7; ++m) {
    x.set(m * K + 10, 1);
    x.set(m * K + 150, 0x1p-30f);
    x.set(m * K + 299, -1);
  }
  for (std::int64_t i = 0; i < w.size(); ++i)
    w.set(i, 1);

  const Array y = multiply(compute_, x, w, DType::f32);

  for (std::int64_t i = 0; i < y.size(); ++i)
    EXPECT_EQ(y[i], 0);
}

TEST_P(Gemm, GroupsEqualSingleProducts) {
  const std::int64_t K = 72, N = 40;
  const std::vector<std::int64_t> row_offset = {0, 0, 5, 5, 180, 181};
  const auto x = Array::random(dtype(), 181, K, 5);
  std::vector<std::unique_ptr<Matrix>> owned;
  std::vector<const Matrix*> w;
  for (std::uint32_t g = 0; g < 5; ++g) {
    const auto weight = Array::random(dtype(), N, K, 10 + g);
    owned.push_back(compute_.pack(weight.data(), dtype(), N, K, WeightOrder::nk));
    w.push_back(owned.back().get());
  }

  Array together(dtype(), 181, N), one_by_one(dtype(), 181, N);
  compute_.grouped_gemm(x, w, row_offset, together);
  for (std::size_t g = 0; g < 5; ++g) {
    const std::int64_t rows = row_offset[g + 1] - row_offset[g];
    compute_.gemm(rows_of(x, row_offset[g], rows), *w[g], rows_of(one_by_one, row_offset[g], rows));
  }

  EXPECT_EQ(num_differences(together, one_by_one), 0);
}

TEST_P(Gemm, GluEqualsItsSteps) {
  const std::int64_t K = 72, rows = 231;
  const std::vector<std::int64_t> row_offset = {0, 0, 5, 205, rows};
  const auto x = Array::random(dtype(), rows, K, 5);
  for (const std::int64_t slices : {1, 2, 4})
    for (const std::int64_t F : {40, 64, 152})
      for (const bool has_gate : {true, false}) {
        std::vector<std::unique_ptr<Matrix>> owned;
        std::vector<const Matrix*> gate, up;
        for (std::uint32_t g = 0; g < 8; ++g) {
          const auto weight = Array::random(dtype(), F, K, 10 + g);
          owned.push_back(compute_.pack(weight.data(), dtype(), F, K, WeightOrder::nk));
          (g % 2 == 0 ? up : gate).push_back(owned.back().get());
        }
        if (!has_gate) gate.clear();
        Array gate_rows(dtype(), rows, F), up_rows(dtype(), rows, F);
        Array expected(dtype(), rows, F / slices, slices), out(dtype(), rows, F / slices, slices);
        compute_.grouped_gemm(x, up, row_offset, up_rows);
        if (has_gate) compute_.grouped_gemm(x, gate, row_offset, gate_rows);
        activation(has_gate ? gate_rows : up_rows, has_gate ? up_rows.tensor() : Tensor{},
                   ActivationKind::silu, expected);

        compute_.grouped_glu({.x = x,
                              .gate = gate,
                              .up = up,
                              .row_offset = row_offset,
                              .kind = ActivationKind::silu,
                              .gate_rows = gate_rows,
                              .up_rows = up_rows,
                              .out = out});

        EXPECT_EQ(num_differences(out, expected), 0) << slices << " " << F << " " << has_gate;
      }
}

TEST_P(Gemm, NoRowsAreNoWork) {
  const auto w = Array::random(dtype(), 8, 8, 1);
  const Array x(dtype(), 0, 8);

  const Array y = multiply(compute_, x, w, dtype());

  EXPECT_EQ(y.size(), 0);
}

TEST_P(Gemm, EveryInstructionSetIsRight) {
  const auto best = simd::active_isa();
  const auto x = Array::random(dtype(), 50, 300, 6), w = Array::random(dtype(), 70, 300, 7);
  for (const auto isa : {simd::Isa::any, simd::Isa::v3, simd::Isa::v4}) {
    if (isa > best) continue;
    testing::set_isa(isa);

    const Array y = multiply(compute_, x, w, DType::f32);

    EXPECT_LT(worst_error(x, w, y), 2e-6) << simd::name_of(isa);
  }
  testing::set_isa(best);
}

TEST(GemmFamilies, OneDnnAgreesWithOwnKernels) {
  CpuCompute own(make_portable_gemm()), library(make_onednn_gemm(false));
  const auto w = Array::random(DType::f32, 96, 160, 2);
  for (const std::int64_t rows : {1, 2, 33, 200}) {
    const auto x = Array::random(DType::f32, rows, 160, 1);

    const Array a = multiply(own, x, w, DType::f32), b = multiply(library, x, w, DType::f32);

    for (std::int64_t i = 0; i < a.size(); ++i)
      ASSERT_NEAR(a[i], b[i], 2e-5) << rows << " rows";
  }
  EXPECT_NE(library.gemm_family().name().find("oneDNN " + onednn_version()), std::string::npos);
}

TEST(GemmFamilies, OneDnnTakesGroupsAndTransposedWeights) {
  CpuCompute own(make_portable_gemm()), library(make_onednn_gemm(false));
  const auto x = Array::random(DType::f32, 20, 64, 1), w = Array::random(DType::f32, 64, 48, 2);
  const std::vector<std::int64_t> row_offset = {0, 13, 13, 20};
  Array results[2] = {Array(DType::f32, 20, 48), Array(DType::f32, 20, 48)};
  CpuCompute* const families[] = {&own, &library};

  for (int i = 0; i < 2; ++i) {
    const auto packed = families[i]->pack(w.data(), DType::f32, 48, 64, WeightOrder::kn);
    const std::vector<const Matrix*> same = {packed.get(), packed.get(), packed.get()};
    families[i]->grouped_gemm(x, same, row_offset, results[i]);
  }

  for (std::int64_t i = 0; i < results[0].size(); ++i)
    ASSERT_NEAR(results[0][i], results[1][i], 1e-5);
}

TEST(GemmFamilies, TheChoiceIsOwnOrProven) {
  const std::vector<WholeWeight> weights = {{128, 64, 4}, {64, 32, 1}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const ChosenGemm chosen = choose_gemm(GemmChoice::automatic, dtype, weights, 2);

    const std::string name = chosen.family->name();
    const bool is_own_bf16 = name == "avx512-bf16" || name == "amx-bf16";
    EXPECT_TRUE(is_own_bf16 || name.starts_with("portable ") ||
                name.find("brg") != std::string::npos)
        << name;
    EXPECT_EQ(is_own_bf16, dtype == DType::bf16 && active_bf16_kernels() != Bf16Kernels::widened);
    EXPECT_EQ(omp_get_max_threads(), 2);
    EXPECT_LE(chosen.notes.size(), 1u);
    if (dtype == DType::bf16 && name.starts_with("portable ")) {
      ASSERT_EQ(chosen.notes.size(), 1u);
      EXPECT_TRUE(chosen.notes[0].starts_with("bf16 values are multiplied as f32 (" +
                                              active_bf16_choice().reason))
          << chosen.notes[0];
    }
  }
}

TEST(GemmFamilies, ATestChoosesAnyThatThereIs) {
  constexpr std::pair<Bf16Kernels, const char*> named[] = {
      {Bf16Kernels::avx512_bf16, "avx512-bf16"},
      {Bf16Kernels::amx, "amx-bf16"},
      {Bf16Kernels::amx_software, "amx-bf16 software"}};
  for (const auto& [kernels, name] : named) {
    if (!testing::has_bf16_kernels(kernels)) continue;
    testing::set_bf16_kernels(kernels);
    EXPECT_EQ(choose_gemm(GemmChoice::automatic, DType::bf16, {}, 2).family->name(), name);
    EXPECT_TRUE(choose_gemm(GemmChoice::automatic, DType::f32, {}, 2)
                    .family->name()
                    .starts_with("portable "));
  }
  testing::set_bf16_kernels(Bf16Kernels::widened);

  EXPECT_TRUE(choose_gemm(GemmChoice::automatic, DType::bf16, {}, 2)
                  .family->name()
                  .starts_with("portable "));
  testing::set_bf16_kernels({});
}

TEST(GemmFamilies, RowsOfAnotherWidthAreRefused) {
  CpuCompute compute = portable_compute();
  const auto w = Array::random(DType::f32, 8, 8, 1), x = Array::random(DType::f32, 2, 9, 1);
  const auto packed = compute.pack(w.data(), DType::f32, 8, 8, WeightOrder::nk);
  const Array y(DType::f32, 2, 8);

  EXPECT_THROW(compute.gemm(x, *packed, y), base::InternalError);
  EXPECT_THROW(compute.use(make_portable_gemm()), base::InternalError);
}

}  // namespace
}  // namespace tetrarch::backend::cpu
