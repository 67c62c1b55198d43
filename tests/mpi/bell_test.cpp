// Rank 0 receives the signal of any rank.
// SPDX-License-Identifier: Apache-2.0
#include "mpi/bell.hpp"

#include <chrono>

#include <gtest/gtest.h>

#include "mpi/world.hpp"

namespace tetrarch::mpi {
namespace {

/// Asks until the bell is rung, for at most 20 s: the message takes some time to arrive.
bool is_heard(Bell& bell) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!bell.is_rung())
    if (std::chrono::steady_clock::now() > until) return false;
  return true;
}

TEST(Bell, IsSilentUntilSomebodyRings) {
  const Communicator world = everyone();
  Bell bell(world);

  if (world.rank() == 0) {
    EXPECT_FALSE(bell.is_rung());
  }
}

TEST(Bell, AnyRankIsHeard) {
  const Communicator world = everyone();
  for (int who = 0; who < world.size(); ++who) {
    Bell bell(world);
    if (world.rank() == who) bell.ring();

    if (world.rank() == 0) {
      EXPECT_TRUE(is_heard(bell));
    }
  }
}

TEST(Bell, AllMayRingAgainAndAgain) {
  const Communicator world = everyone();
  Bell bell(world);
  for (int time = 0; time < 3; ++time)
    bell.ring();

  if (world.rank() == 0) {
    EXPECT_TRUE(is_heard(bell));
    EXPECT_TRUE(bell.is_rung());
  }
}

TEST(Bell, WhatNobodyListensToEndsNevertheless) {
  const Communicator world = everyone();
  Bell bell(world);

  bell.ring();
}

}  // namespace
}  // namespace tetrarch::mpi
