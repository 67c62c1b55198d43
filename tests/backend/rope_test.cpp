// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <gtest/gtest.h>

#include "backend/arrays.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

class Rope : public ::testing::TestWithParam<DType> {
 protected:
  CpuCompute compute_ = portable_compute();
};
INSTANTIATE_TEST_SUITE_P(Dtypes, Rope, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& test) { return std::string(base::name_of(test.param)); });

TEST_P(Rope, AQuarterTurnSwapsThePair) {
  auto x = Array::of_floats(GetParam(), 1, 4, {1, 2, 3, 4});
  const auto position = Array::of_ints(1, 1, {1});
  const auto cosine = Array::of_floats(DType::f32, 2, 2, {1, 1, 0, 0});
  const auto sine = Array::of_floats(DType::f32, 2, 2, {0, 0, 1, 1});

  compute_.rope(x, 4, position, cosine, sine);

  EXPECT_EQ(x[0], -3);
  EXPECT_EQ(x[1], -4);
  EXPECT_EQ(x[2], 1);
  EXPECT_EQ(x[3], 2);
}

TEST_P(Rope, TurnsEveryHeadByItsPositionAndLeavesTheRest) {
  const std::int64_t rows = 9, head_size = 50, half = 20, positions = 30;
  const auto before = Array::random(GetParam(), rows, 3 * head_size, 1);
  Array x = before;
  Array cosine(DType::f32, positions, half), sine(DType::f32, positions, half);
  for (std::int64_t i = 0; i < cosine.size(); ++i) {
    const double angle = static_cast<double>(i / half) / static_cast<double>(1 + i % half);
    cosine.set(i, static_cast<float>(std::cos(angle)));
    sine.set(i, static_cast<float>(std::sin(angle)));
  }
  const auto position = Array::of_ints(rows, 1, {29, 0, 3, 3, 7, 1, 2, 28, 11});

  compute_.rope(x, head_size, position, cosine, sine);

  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t c = 0; c < 3 * head_size; ++c) {
      const std::int64_t j = c % head_size, head = c - j, at = position.integer(row) * half;
      double expected = before.at(row, c);
      if (j < half)
        expected = before.at(row, c) * static_cast<double>(cosine[at + j]) -
                   before.at(row, head + half + j) * static_cast<double>(sine[at + j]);
      else if (j < 2 * half)
        expected = before.at(row, c) * static_cast<double>(cosine[at + j - half]) +
                   before.at(row, head + j - half) * static_cast<double>(sine[at + j - half]);
      ASSERT_NEAR(x.at(row, c), expected, 2.5 * epsilon_of(GetParam())) << row << " " << c;
    }
}

TEST_P(Rope, APositionBeyondTheTableIsRefusedInDebugBuilds) {
  const Array x(GetParam(), 1, 4), table(DType::f32, 5, 2);

  if (base::has_debug_checks) {
    EXPECT_THROW(compute_.rope(x, 4, Array::of_ints(1, 1, {5}), table, table), base::InternalError);
  }
  EXPECT_NO_THROW(
      compute_.rope(Array(GetParam(), 0, 4), 4, Array::of_ints(0, 1, {}), table, table));
}

}  // namespace
}  // namespace tetrarch::backend::cpu
