// What a rank may count on, held against what the machine has.
// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_limit.hpp"

#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "mpi/world.hpp"

namespace tetrarch::engine {
namespace {

TEST(MemoryLimit, IsAShareOfTheMachineAndTheSameEverywhere) {
  const mpi::Communicator world = mpi::everyone(), node = world.split_by_node();

  const std::int64_t limit = memory_limit_bytes(world, node);

  const std::int64_t physical = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  EXPECT_GT(limit, 0);
  EXPECT_LE(limit, physical / node.size());
  EXPECT_EQ(world.min(limit), world.max(limit));
}

TEST(MemoryLimit, ThePeakGrowsWithWhatIsTouched) {
  const std::int64_t before = peak_resident_bytes();
  std::vector<char> memory(64 << 20, 1);
  const std::int64_t after = peak_resident_bytes();

  EXPECT_EQ(memory.back(), 1);
  EXPECT_GT(before, 0);
  EXPECT_GE(after, 64 << 20);
  EXPECT_GE(after, before);
}

}  // namespace
}  // namespace tetrarch::engine
