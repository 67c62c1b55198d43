// All ranks of a node see what its rank 0 writes, in one shared copy.
// SPDX-License-Identifier: Apache-2.0
#include "mpi/node_memory.hpp"

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

#include "mpi/world.hpp"

namespace tetrarch::mpi {
namespace {

struct NodeMemoryTest : ::testing::Test {
  Communicator world = everyone();
  Communicator node = world.split_by_node();
};

TEST_F(NodeMemoryTest, AllSeeWhatTheFirstRankWrote) {
  constexpr std::size_t bytes = 100'003;
  NodeMemory memory(node, bytes);
  ASSERT_EQ(memory.bytes().size(), bytes);
  if (node.rank() == 0)
    for (std::size_t i = 0; i < bytes; ++i)
      memory.bytes()[i] = static_cast<std::byte>(i % 251);

  memory.share(node);

  std::size_t num_wrong = 0;
  for (std::size_t i = 0; i < bytes; ++i)
    num_wrong += memory.bytes()[i] != static_cast<std::byte>(i % 251);
  EXPECT_EQ(num_wrong, 0u);
}

TEST_F(NodeMemoryTest, ThereIsOneCopy) {
  NodeMemory memory(node, 64);
  memory.share(node);
  EXPECT_TRUE(memory.is_shared());

  if (node.rank() == node.size() - 1) memory.bytes()[7] = std::byte{42};
  node.barrier();

  EXPECT_EQ(memory.bytes()[7], std::byte{42});
}

TEST_F(NodeMemoryTest, ItOutlivesMovesAndIsZeroAtFirst) {
  NodeMemory first(node, 16);
  NodeMemory second = std::move(first);
  NodeMemory third;
  third = std::move(second);

  EXPECT_TRUE(first.bytes().empty());
  EXPECT_EQ(third.bytes().size(), 16u);
  EXPECT_TRUE(std::ranges::all_of(third.bytes(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(NodeMemoryTest, NothingIsWelcomeToo) {
  NodeMemory none(node, 0);
  none.share(node);
  EXPECT_TRUE(none.bytes().empty());

  EXPECT_EQ(NodeMemory(std::size_t{5}).bytes().size(), 5u);
}

}  // namespace
}  // namespace tetrarch::mpi
