// Products and sums of sizes throw instead of overflowing.
// SPDX-License-Identifier: Apache-2.0
#include "base/shape.hpp"

#include <limits>

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace tetrarch::base {
namespace {

constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();

template <class Act>
void expect_refused(const Act& act) {
  try {
    act();
    ADD_FAILURE() << "nothing was refused";
  } catch (const Refusal& error) {
    EXPECT_EQ(error.code(), ExitCode::input);
  }
}

TEST(Shape, ProductsAreExactUpToTheLastBit) {
  EXPECT_EQ(checked_mul(0, largest), 0);
  EXPECT_EQ(checked_mul(1, largest), largest);
  EXPECT_EQ(checked_mul(std::int64_t{1} << 31, std::int64_t{1} << 31), std::int64_t{1} << 62);
  expect_refused([] { checked_mul(std::int64_t{1} << 32, std::int64_t{1} << 31); });
  expect_refused([] { checked_mul(largest, 2); });
}

TEST(Shape, SumsAreExactUpToTheLastBit) {
  EXPECT_EQ(checked_add(largest - 1, 1), largest);
  expect_refused([] { checked_add(largest, 1); });
}

TEST(Shape, NegativeFactorsAreRefused) {
  expect_refused([] { checked_mul(-1, 5); });
  expect_refused([] { checked_mul(5, -1); });
  expect_refused([] { checked_mul(-3, -3); });
  expect_refused([] { checked_add(-1, 5); });
  expect_refused([] { checked_add(5, -1); });
}

TEST(Shape, ElementsOfAShape) {
  EXPECT_EQ(checked_elements(Shape{}), 1);
  EXPECT_EQ(checked_elements(Shape{16, 32, 64}), 32768);
  EXPECT_EQ(checked_elements(Shape{3, 0, 5}), 0);
  expect_refused([] { checked_elements(Shape{1 << 30, 1 << 30, 1 << 30}); });
  expect_refused([] { checked_elements(Shape{4, -1}); });
}

TEST(Shape, DivisionRoundsUp) {
  EXPECT_EQ(ceil_div(0, 4), 0);
  EXPECT_EQ(ceil_div(1, 4), 1);
  EXPECT_EQ(ceil_div(4, 4), 1);
  EXPECT_EQ(ceil_div(5, 4), 2);
  EXPECT_EQ(round_up(0, 64), 0);
  EXPECT_EQ(round_up(64, 64), 64);
  EXPECT_EQ(round_up(65, 64), 128);
}

TEST(Shape, IsWrittenInBrackets) {
  EXPECT_EQ(to_string(Shape{16, 32, 64}), "[16, 32, 64]");
  EXPECT_EQ(to_string(Shape{}), "[]");
}

}  // namespace
}  // namespace tetrarch::base
