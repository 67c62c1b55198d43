// One message names all problems, up to a limit.
// SPDX-License-Identifier: Apache-2.0
#include "plan/problems.hpp"

#include "support.hpp"

namespace tetrarch::plan {
namespace {

using base::ExitCode;

std::string told(int count) {
  return test::refusal(ExitCode::usage, [&] {
    Problems problems;
    for (int i = 0; i < count; ++i)
      problems.add("problem {}.", i);
    problems.refuse(ExitCode::usage, "here");
  });
}

TEST(Problems, OneIsALineAndSeveralAreAList) {
  EXPECT_EQ(told(1), "here: problem 0.");
  EXPECT_EQ(told(2), "here: 2 problems\n  problem 0.\n  problem 1.");
}

TEST(Problems, BeyondThirtyTheyAreOnlyCounted) {
  const std::string thirty = told(30), all = told(1'000'000);

  EXPECT_EQ(thirty.find("more"), std::string::npos);
  EXPECT_EQ(all.find("here: 1000000 problems\n"), 0u);
  test::expect_says(all, "\n  problem 29.\n  and 999970 more");
}

TEST(Problems, WithoutAnyNothingIsRefused) {
  EXPECT_NO_THROW(Problems().refuse(ExitCode::usage, "here"));
}

}  // namespace
}  // namespace tetrarch::plan
