// The arithmetic of lanes, on every instruction set of this CPU.
// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>

#include <gtest/gtest.h>

#include "backend/arrays.hpp"
#include "backend/cpu/kernels/testing.hpp"

namespace tetrarch::backend::cpu {
namespace {

struct Values {
  const float* x;
  float* y;
  base::bf16* half;
};

template <int Width>
TETRARCH_INLINE void exp_of_body(const Values& values, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; i += simd::lanes) {
    const auto x = simd::load<Width>(values.x + i);
    simd::store(simd::exp(x), values.y + i);
    simd::store(x, values.half + i);
  }
}
TETRARCH_KERNEL(exp_of, Values)

class Simd : public ::testing::TestWithParam<simd::Isa> {
 protected:
  void SetUp() override {
    best_ = simd::active_isa();
    if (GetParam() > best_) GTEST_SKIP() << "this CPU has no such instructions";
    testing::set_isa(GetParam());
  }
  void TearDown() override { testing::set_isa(best_); }

  void run(const std::vector<float>& x) {
    y_.assign(x.size(), 0);
    half_.assign(x.size(), {});
    exp_of({x.data(), y_.data(), half_.data()}, 0, static_cast<std::int64_t>(x.size()));
  }
  simd::Isa best_ = simd::Isa::any;
  std::vector<float> y_;
  std::vector<base::bf16> half_;
};
INSTANTIATE_TEST_SUITE_P(InstructionSets, Simd,
                         ::testing::Values(simd::Isa::any, simd::Isa::v3, simd::Isa::v4));

TEST_P(Simd, ExpIsWithinTwoUlps) {
  std::vector<float> x;
  for (int i = 0; i < 1 << 20; ++i)
    x.push_back(-105.0f + 194.0f * static_cast<float>(i) * 0x1p-20f);

  run(x);

  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    if (exact > std::numeric_limits<float>::max()) continue;
    const double ulp = std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
    worst = std::max(worst, std::abs(y_[i] - exact) / ulp);
  }
  EXPECT_LT(worst, 2);
}

TEST_P(Simd, ExpOfSpecialValuesIsExact) {
  std::vector<float> x(16, 0);
  x[1] = -infinity;
  x[2] = infinity;
  x[3] = not_a_number;
  x[4] = -0.0f;
  x[5] = 1000;
  x[6] = -1000;

  run(x);

  EXPECT_EQ(y_[0], 1);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(y_[1]), 0u);
  EXPECT_EQ(y_[2], infinity);
  EXPECT_TRUE(std::isnan(y_[3]));
  EXPECT_EQ(y_[4], 1);
  EXPECT_EQ(y_[5], infinity);
  EXPECT_EQ(y_[6], 0);
}

TEST_P(Simd, RoundingToBf16IsThatOfTheBase) {
  std::vector<float> x;
  std::uint32_t state = 1;
  for (int i = 0; i < 1 << 16; ++i) {
    state = state * 1664525u + 1013904223u;
    x.push_back(std::bit_cast<float>(i % 4 == 0 ? (state & 0xffff0000u) | 0x8000u : state));
  }

  run(x);

  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(half_[i].bits, base::to_bf16(x[i]).bits) << std::bit_cast<std::uint32_t>(x[i]);
}

}  // namespace
}  // namespace tetrarch::backend::cpu
