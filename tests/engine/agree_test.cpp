// A problem of one rank is thrown by all ranks with the same message.
// SPDX-License-Identifier: Apache-2.0
#include "engine/agree.hpp"

#include <gtest/gtest.h>

#include "mpi/world.hpp"

namespace tetrarch::engine {
namespace {

using base::ExitCode;

struct AgreeTest : ::testing::Test {
  /// The error that `act` throws on this rank.
  static std::optional<Problem> thrown_by(const std::function<void()>& act) {
    try {
      act();
    } catch (const base::Refusal& error) {
      return Problem{error.code(), error.what()};
    }
    return std::nullopt;
  }
  int rank() const { return world.rank(); }
  int size() const { return world.size(); }

  mpi::Communicator world = mpi::everyone();
};

/// The problem of a rank; higher ranks have longer messages.
Problem problem_of(int rank) {
  return {rank % 2 == 0 ? ExitCode::weights : ExitCode::resources,
          "rank " + std::to_string(rank) + std::string(static_cast<std::size_t>(100 * rank), '!')};
}

TEST_F(AgreeTest, NothingIsThrownWhenAllWentWell) {
  EXPECT_NO_THROW(agree(world, std::nullopt));
}

TEST_F(AgreeTest, TheLowestFailingRankSpeaksForAll) {
  // every non-empty set of failing ranks
  for (int failing = 1; failing < 1 << size(); ++failing) {
    int lowest = 0;
    while ((failing >> lowest & 1) == 0)
      ++lowest;
    const bool is_mine = (failing >> rank() & 1) != 0;

    const auto thrown = thrown_by(
        [&] { agree(world, is_mine ? std::optional(problem_of(rank())) : std::nullopt); });

    EXPECT_TRUE(thrown.has_value()) << failing;
    if (!thrown) continue;  // go on to the next collective call
    EXPECT_EQ(thrown->code, problem_of(lowest).code);
    EXPECT_EQ(thrown->message, problem_of(lowest).message);
  }
}

TEST_F(AgreeTest, AttemptTurnsTroubleIntoAProblem) {
  const auto usage = attempt([] { throw base::Refusal(ExitCode::input, "a bad file"); });
  const auto system = attempt([] { throw base::SystemError(ExitCode::resources, "a full disk"); });

  EXPECT_FALSE(attempt([] {}).has_value());
  ASSERT_TRUE(usage && system);
  EXPECT_EQ(usage->code, ExitCode::input);
  EXPECT_EQ(usage->message, "a bad file");
  EXPECT_EQ(system->code, ExitCode::resources);
  EXPECT_EQ(system->message.find("a full disk"), 0u);
}

TEST_F(AgreeTest, AttemptDoesNotHideADefect) {
  EXPECT_THROW(attempt([] { base::expects(false, "no defect"); }), base::InternalError);
}

TEST_F(AgreeTest, WhatTheRootThrowsIsThrownEverywhere) {
  int calls = 0;

  const auto thrown = thrown_by([&] {
    on_root(world, [&] {
      ++calls;
      throw base::Refusal(ExitCode::usage, "the folder is in use");
    });
  });

  EXPECT_EQ(calls, rank() == 0 ? 1 : 0);
  ASSERT_TRUE(thrown.has_value());
  EXPECT_EQ(thrown->code, ExitCode::usage);
  EXPECT_EQ(thrown->message, "the folder is in use");
}

TEST_F(AgreeTest, TheRootActsAloneAndAllGoOn) {
  int calls = 0;

  on_root(world, [&] { ++calls; });

  EXPECT_EQ(world.sum(calls), 1);
}

}  // namespace
}  // namespace tetrarch::engine
