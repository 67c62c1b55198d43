// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>

#include <gtest/gtest.h>

#include "backend/arrays.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

SliceStats stats_at(const Array& stats, std::int64_t i) {
  SliceStats at{};
  std::memcpy(&at, stats.tensor().as<std::int32_t>() + 4 * i, sizeof at);
  return at;
}

class Vocabulary : public ::testing::Test {
 protected:
  Array stats_of(const Tensor& logits, const std::vector<std::int64_t>& slices,
                 std::int64_t first_id, const Array& target) {
    Array stats(DType::i32, logits.rows, static_cast<std::int64_t>(4 * slices.size()));
    compute_.vocabulary_stats(logits, slices, first_id, target, stats);
    return stats;
  }
  CpuCompute compute_ = portable_compute();
};

TEST_F(Vocabulary, EachSliceHasItsOwnStatistics) {
  const float ln3 = std::log(3.0f);
  const auto logits = Array::of_floats(DType::f32, 1, 5, {ln3, 0, ln3, -1, 7});
  const auto target = Array::of_ints(1, 1, {101});

  const Array stats = stats_of(logits, {3, 2}, 100, target);

  const SliceStats first = stats_at(stats, 0), second = stats_at(stats, 1);
  EXPECT_EQ(first.max, ln3);
  EXPECT_NEAR(first.sum_exp, 7.0 / 3, 1e-6);
  EXPECT_EQ(first.best_id, 100);
  EXPECT_EQ(first.target, 0);
  EXPECT_EQ(second.max, 7);
  EXPECT_NEAR(second.sum_exp, 1 + std::exp(-8.0), 1e-6);
  EXPECT_EQ(second.best_id, 104);
  EXPECT_EQ(second.target, 0);
}

TEST_F(Vocabulary, TheTargetIsFoundInItsSliceAlone) {
  const auto logits = Array::random(DType::f32, 3, 40, 1);
  const auto target = Array::of_ints(3, 1, {5, 39, 40});

  const Array stats = stats_of(logits, {20, 20}, 0, target);

  EXPECT_EQ(stats_at(stats, 0).target, logits.at(0, 5));
  EXPECT_EQ(stats_at(stats, 1).target, 0);
  EXPECT_EQ(stats_at(stats, 2).target, 0);
  EXPECT_EQ(stats_at(stats, 3).target, logits.at(1, 39));
  EXPECT_EQ(stats_at(stats, 4).target, 0);
  EXPECT_EQ(stats_at(stats, 5).target, 0);
}

TEST_F(Vocabulary, ASlicesBitsDependOnItselfAlone) {
  const auto logits = Array::random(DType::f32, 4, 1003, 2, 30);
  const auto target = Array::of_ints(4, 1, {3, 300, 999, 1});
  const std::vector<std::int64_t> sizes = {250, 251, 251, 251};
  const Array whole = stats_of(logits, sizes, 0, target);

  std::int64_t first = 0;
  for (std::int64_t slice = 0; slice < 4; first += sizes[static_cast<std::size_t>(slice++)]) {
    const std::int64_t size = sizes[static_cast<std::size_t>(slice)];
    Array part(DType::f32, 4, size);
    for (std::int64_t i = 0; i < part.size(); ++i)
      part.set(i, logits.at(i / size, first + i % size));

    const Array alone = stats_of(part, {size}, first, target);

    for (std::int64_t row = 0; row < 4; ++row) {
      const SliceStats a = stats_at(whole, row * 4 + slice), b = stats_at(alone, row);
      EXPECT_EQ(std::memcmp(&a, &b, sizeof a), 0) << slice << " " << row;
    }
  }
}

TEST_F(Vocabulary, SumsAndMaximaAreRightForAnyWidth) {
  for (const std::int64_t width : {1, 2, 15, 16, 17, 100, 513}) {
    const auto logits = Array::random(DType::f32, 2, width, 3, 50);
    const auto target = Array::of_ints(2, 1, {0, static_cast<std::int32_t>(width - 1)});

    const Array stats = stats_of(logits, {width}, 0, target);

    for (std::int64_t row = 0; row < 2; ++row) {
      std::int64_t best = 0;
      double sum = 0;
      for (std::int64_t c = 0; c < width; ++c)
        if (logits.at(row, c) > logits.at(row, best)) best = c;
      for (std::int64_t c = 0; c < width; ++c)
        sum += std::exp(static_cast<double>(logits.at(row, c)) - logits.at(row, best));
      EXPECT_EQ(stats_at(stats, row).best_id, best);
      EXPECT_EQ(stats_at(stats, row).max, logits.at(row, best));
      EXPECT_NEAR(stats_at(stats, row).sum_exp, sum, sum * 2e-6);
    }
  }
}

TEST_F(Vocabulary, TiesGoToTheLowerIdAndBadRowsStayInside) {
  Array logits(DType::f32, 2, 40);
  logits.set(35, 2);
  logits.set(19, 2);
  logits.set(18, 1);
  for (std::int64_t i = 40; i < 80; ++i)
    logits.set(i, not_a_number);

  const Array stats = stats_of(logits, {40}, 10, Array::of_ints(2, 1, {0, 0}));

  EXPECT_EQ(stats_at(stats, 0).best_id, 29);
  EXPECT_EQ(stats_at(stats, 1).best_id, 10);
  EXPECT_TRUE(std::isnan(stats_at(stats, 1).sum_exp));
}

TEST_F(Vocabulary, TheLargestComeByFallingLogitThenRisingId) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto logits =
      Array::of_floats(DType::f32, 2, 6, {3, 5, 3, -1, 5, 0, nan, -2, nan, -2, -7, -3});
  Array top(DType::i32, 2, 2 * 4);

  compute_.largest_logits(logits, 100, top);

  const std::int32_t ids[2][4] = {{101, 104, 100, 102}, {101, 103, 105, 104}};
  const float values[2][4] = {{5, 5, 3, 3}, {-2, -2, -3, -7}};
  for (int row = 0; row < 2; ++row)
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(top.integer(8 * row + i), ids[row][i]) << row << " " << i;
      EXPECT_EQ(std::bit_cast<float>(top.integer(8 * row + 4 + i)), values[row][i]);
    }
}

TEST_F(Vocabulary, FewerColumnsThanAskedForLeaveNoIds) {
  const auto logits = Array::of_floats(DType::f32, 1, 2, {1, 2});
  Array top(DType::i32, 1, 2 * 3);

  compute_.largest_logits(logits, 0, top);

  EXPECT_EQ(top.integer(0), 1);
  EXPECT_EQ(top.integer(1), 0);
  EXPECT_EQ(top.integer(2), -1);
  EXPECT_EQ(std::bit_cast<float>(top.integer(5)), -std::numeric_limits<float>::infinity());
}

TEST_F(Vocabulary, FiniteRowsAreToldFromOthers) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const std::int64_t columns : {1, 16, 50}) {
      auto x = Array::random(dtype, 4, columns, 1, 1e38f);
      x.set(1 * columns, not_a_number);
      x.set(3 * columns - 1, -infinity);
      Array flag(DType::i32, 4, 1);

      compute_.row_is_finite(x, flag);

      EXPECT_EQ(flag.integer(0), 1);
      EXPECT_EQ(flag.integer(1), 0);
      EXPECT_EQ(flag.integer(2), 0);
      EXPECT_EQ(flag.integer(3), 1);
    }
  compute_.row_is_finite(Array(DType::f32, 0, 4), Array(DType::i32, 0, 1));
}

}  // namespace
}  // namespace tetrarch::backend::cpu
