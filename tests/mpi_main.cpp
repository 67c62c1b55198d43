// The main() of tests that run on several ranks: failures of all ranks are summed.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <gtest/gtest.h>

#include "mpi/session.hpp"

int main(int argc, char** argv) {
  tetrarch::mpi::Session session(&argc, &argv);
  testing::InitGoogleTest(&argc, argv);
  const auto& world = session.world();
  if (world.rank() != 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
  }
  const int failed = RUN_ALL_TESTS();
  if (failed != 0 && world.rank() != 0)
    std::fprintf(stderr, "rank %d has failures\n", world.rank());
  return world.sum(failed) == 0 ? 0 : 1;
}
