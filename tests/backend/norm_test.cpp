// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <gtest/gtest.h>
#include <omp.h>

#include "backend/arrays.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

class Norm : public ::testing::TestWithParam<DType> {
 protected:
  void TearDown() override { omp_set_num_threads(2); }
  CpuCompute compute_ = portable_compute();
};
INSTANTIATE_TEST_SUITE_P(Dtypes, Norm, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& test) { return std::string(base::name_of(test.param)); });

TEST_P(Norm, ThreeAndFourGiveTheirRootMeanSquare) {
  const auto x = Array::of_floats(GetParam(), 1, 2, {3, 4});
  const auto weight = Array::of_floats(GetParam(), 1, 2, {1, 2});
  Array y(GetParam(), 1, 2);

  compute_.rms_norm(x, weight, 0, y);  // sqrt(12.5) = 3.5355339

  EXPECT_NEAR(y[0], 0.8485281, 0.8485281 * epsilon_of(GetParam()) * 1.01);
  EXPECT_NEAR(y[1], 2.2627417, 2.2627417 * epsilon_of(GetParam()) * 1.01);
}

TEST_P(Norm, RoundsTwiceAsModelsDo) {
  for (const std::int64_t columns : {1, 15, 16, 17, 64, 100, 1000}) {
    const auto x = Array::random(GetParam(), 11, columns, 1, 8);
    const auto weight = Array::random(GetParam(), 1, columns, 2);
    Array y(GetParam(), 11, columns);

    compute_.rms_norm(x, weight, 1e-5f, y);

    for (std::int64_t row = 0; row < 11; ++row) {
      double sum = 0;
      for (std::int64_t c = 0; c < columns; ++c)
        sum += std::pow(x.at(row, c), 2.0);
      const double inverse = 1 / std::sqrt(sum / static_cast<double>(columns) + 1e-5f);
      for (std::int64_t c = 0; c < columns; ++c) {
        const float once = rounded(static_cast<float>(x.at(row, c) * inverse), GetParam());
        const double expected = static_cast<double>(weight[c]) * once;
        // the inner rounding may round to the other side where the value is near a tie
        ASSERT_NEAR(y.at(row, c), expected,
                    std::abs(expected) * (3 * epsilon_of(GetParam()) + 3e-7) + 1e-30);
      }
    }
  }
}

TEST_P(Norm, RowBitsDependOnNothingElse) {
  const std::int64_t rows = 1000, columns = 200;
  const auto x = Array::random(GetParam(), rows, columns, 3);
  const auto weight = Array::random(GetParam(), 1, columns, 4);
  Array whole(GetParam(), rows, columns), parts(GetParam(), rows, columns);
  compute_.rms_norm(x, weight, 1e-6f, whole);

  omp_set_num_threads(1);
  for (std::int64_t row = 0, count = 1; row < rows; row += count, ++count) {
    count = std::min(count, rows - row);
    compute_.rms_norm(x.tensor().row_range(row, count), weight, 1e-6f,
                      parts.tensor().row_range(row, count));
  }

  EXPECT_EQ(num_differences(whole, parts), 0);
}

TEST_P(Norm, WorksInPlaceAndOnNoRows) {
  auto x = Array::random(GetParam(), 3, 50, 5);
  const auto weight = Array::random(GetParam(), 1, 50, 6);
  Array expected(GetParam(), 3, 50);
  compute_.rms_norm(x, weight, 0, expected);

  compute_.rms_norm(x, weight, 0, x);
  compute_.rms_norm(Array(GetParam(), 0, 50), weight, 0, Array(GetParam(), 0, 50));

  EXPECT_EQ(num_differences(x, expected), 0);
}

}  // namespace
}  // namespace tetrarch::backend::cpu
