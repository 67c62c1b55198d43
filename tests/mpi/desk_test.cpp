// A thread on rank 0 answers the requests of all ranks, also while rank 0 computes.
// SPDX-License-Identifier: Apache-2.0
#include "mpi/desk.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "mpi/world.hpp"

namespace tetrarch::mpi {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Keeps a core busy without calling MPI.
void compute_for(double seconds) {
  const auto start = Clock::now();
  while (seconds_since(start) < seconds) {
  }
}

struct DeskTest : ::testing::Test {
  Communicator world = everyone();

  int rank() const { return world.rank(); }
  int size() const { return world.size(); }
};

TEST_F(DeskTest, EveryNumberIsDrawnOnce) {
  constexpr std::int64_t each = 500;
  std::int64_t next = 0;
  Desk desk(world, [&](int) { return next++; });

  std::vector<std::int64_t> mine;
  for (int i = 0; i < each; ++i)
    mine.push_back(desk.ask());

  EXPECT_TRUE(std::ranges::is_sorted(mine));
  std::vector<std::int64_t> all = world.all_gather(std::span<const std::int64_t>(mine));
  std::ranges::sort(all);
  for (std::int64_t i = 0; i < each * size(); ++i)
    EXPECT_EQ(all[static_cast<std::size_t>(i)], i);
}

TEST_F(DeskTest, TheAnswerIsToTheRankThatAsks) {
  const Desk desk(world, [](int asking) { return 100 + asking; });

  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(desk.ask(), 100 + rank());
}

TEST_F(DeskTest, SeveralDesksDoNotMixNorDisturbOtherMessages) {
  const Desk hundred(world, [](int) { return 100; }), thousand(world, [](int) { return 1000; });

  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(hundred.ask(), 100);
    EXPECT_EQ(world.sum(rank()), size() * (size() - 1) / 2);
    EXPECT_EQ(thousand.ask(), 1000);
  }
}

TEST_F(DeskTest, ItStaysOpenUntilTheLastRankHasAsked) {
  std::int64_t answered = 0;
  {
    const Desk desk(world, [&](int) { return ++answered; });
    compute_for(0.05 * rank());
    EXPECT_GT(desk.ask(), 0);
  }

  if (rank() == 0) {
    EXPECT_EQ(answered, size());
  }
}

TEST_F(DeskTest, NobodyWaitsForAnOwnerThatComputes) {
  // the starts on 2 and 4 ranks have a rank that asks another
  if (size() < 2) return;
  constexpr double busy = 3.0, until_all_are_at_it = 0.5;
  constexpr int each = 20;
  std::int64_t answered = 0;
  std::vector<double> seconds;
  {
    const Desk desk(world, [&](int) { return ++answered; });
    world.barrier();
    if (rank() == 0) {
      compute_for(busy);
      EXPECT_GE(desk.ask(), each * (size() - 1) + 1);  // the others got all their answers before
    } else {
      compute_for(until_all_are_at_it);
      for (int i = 0; i < each; ++i) {
        const auto start = Clock::now();
        desk.ask();
        seconds.push_back(seconds_since(start));
      }
    }
  }

  if (rank() == 0) return;
  std::ranges::sort(seconds);
  EXPECT_LT(seconds[each / 2], 0.05);
  EXPECT_LT(seconds.back(), busy - until_all_are_at_it);
}

TEST_F(DeskTest, AFailureGoesToTheRankThatAsked) {
  const Desk desk(world, [](int asking) -> std::int64_t {
    if (asking % 2 == 1) throw std::runtime_error("nothing for odd ranks");
    return asking;
  });

  if (rank() % 2 == 0) {
    EXPECT_EQ(desk.ask(), rank());
  } else {
    try {
      desk.ask();
      ADD_FAILURE() << "there is no answer";
    } catch (const base::SystemError& error) {
      EXPECT_EQ(error.code(), base::ExitCode::communication);
      EXPECT_NE(std::string(error.what()).find("nothing for odd ranks"), std::string::npos);
    }
  }
}

TEST_F(DeskTest, AnExceptionDoesNotWaitForTheOthers) {
  const auto lose = [&] {
    const Desk desk(world, [](int) { return 0; });
    if (rank() != 0) world.barrier();  // until rank 0 has destroyed its desk
    throw std::runtime_error("lost");
  };

  EXPECT_THROW(lose(), std::runtime_error);
  if (rank() == 0) world.barrier();
}

}  // namespace
}  // namespace tetrarch::mpi
