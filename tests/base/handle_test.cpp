// A Handle has one owner at a time, and closes each resource once.
// SPDX-License-Identifier: Apache-2.0
#include "base/handle.hpp"

#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

namespace tetrarch::base {
namespace {

std::vector<int> closed;

struct Close {
  static int empty() { return -1; }
  void operator()(int value) const noexcept { closed.push_back(value); }
};
using Number = Handle<int, Close>;

struct HandleTest : ::testing::Test {
  HandleTest() { closed.clear(); }
};

static_assert(!std::is_copy_constructible_v<Number> && !std::is_copy_assignable_v<Number>);
static_assert(std::is_nothrow_move_constructible_v<Number>);

TEST_F(HandleTest, ClosesOnceWhenItGoes) {
  {
    const Number handle(7);
    EXPECT_TRUE(handle.has_value());
    EXPECT_EQ(handle.get(), 7);
  }

  EXPECT_EQ(closed, std::vector<int>{7});
}

TEST_F(HandleTest, AnEmptyOneClosesNothing) {
  {
    Number handle;
    EXPECT_FALSE(handle.has_value());
    handle.reset();
  }

  EXPECT_TRUE(closed.empty());
}

TEST_F(HandleTest, AMoveLeavesTheSourceEmpty) {
  {
    Number from(1);
    const Number to(std::move(from));
    EXPECT_FALSE(from.has_value());  // NOLINT(bugprone-use-after-move): a moved Handle is empty
    EXPECT_EQ(to.get(), 1);
  }

  EXPECT_EQ(closed, std::vector<int>{1});
}

TEST_F(HandleTest, AssignmentClosesWhatWasOwnedBefore) {
  Number to(1);
  to = Number(2);

  EXPECT_EQ(closed, std::vector<int>{1});
  EXPECT_EQ(to.get(), 2);
}

TEST_F(HandleTest, AssignmentToItselfKeepsTheValue) {
  Number handle(3);
  Number& same = handle;
  handle = std::move(same);

  EXPECT_EQ(handle.get(), 3);
  EXPECT_TRUE(closed.empty());
}

TEST_F(HandleTest, ReleaseGivesTheDutyAway) {
  {
    Number handle(4);
    EXPECT_EQ(handle.release(), 4);
    EXPECT_FALSE(handle.has_value());
  }

  EXPECT_TRUE(closed.empty());
}

}  // namespace
}  // namespace tetrarch::base
