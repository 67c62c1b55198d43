// Collectives and messages of host data between ranks: counts, texts, bytes.
// SPDX-License-Identifier: Apache-2.0
#include "mpi/communicator.hpp"

#include <algorithm>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "mpi/world.hpp"

namespace tetrarch::mpi {
namespace {

struct CommunicatorTest : ::testing::Test {
  int rank() const { return world.rank(); }
  int size() const { return world.size(); }

  Communicator world = everyone();
};

std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The text of a rank: `rank` times a letter of its own. Rank 0 has an empty text.
std::string text_of(int rank) {
  return std::string(static_cast<std::size_t>(rank), static_cast<char>('a' + rank));
}

TEST_F(CommunicatorTest, ReductionsSeeAllRanks) {
  const std::int64_t large = std::int64_t{1} << 40;

  EXPECT_EQ(world.sum(rank() + large), size() * large + size() * (size() - 1) / 2);
  EXPECT_EQ(world.min(rank() - 3), -3);
  EXPECT_EQ(world.max(std::int64_t{rank()}), size() - 1);
  EXPECT_EQ(world.max(-0.5 - rank()), -0.5);
}

TEST_F(CommunicatorTest, BytesComeFromTheRoot) {
  for (int root = 0; root < size(); ++root) {
    std::vector<std::byte> bytes(
        1000, std::byte{rank() == root ? std::uint8_t(root + 1) : std::uint8_t(99)});

    world.broadcast(bytes, root);

    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte(root + 1)), 1000);
  }
}

TEST_F(CommunicatorTest, ABroadcastOfNothingIsACallLikeOthers) {
  std::vector<std::byte> nothing;

  EXPECT_NO_THROW(world.broadcast(nothing, size() - 1));
  EXPECT_EQ(world.broadcast(rank() == 0 ? "" : "not this", 0), "");
}

TEST_F(CommunicatorTest, TextsOfAnyLengthComeFromTheRoot) {
  for (const std::size_t length : {1, 17, 100000}) {
    const int root = size() - 1;
    const std::string expected(length, 'x');

    EXPECT_EQ(world.broadcast(rank() == root ? expected : "of another length", root), expected);
  }
}

TEST_F(CommunicatorTest, TextsOfDifferentLengthsAreGatheredWhole) {
  const std::vector<std::string> texts = world.all_gather(text_of(rank()));

  ASSERT_EQ(texts.size(), static_cast<std::size_t>(size()));
  for (int r = 0; r < size(); ++r)
    EXPECT_EQ(texts[static_cast<std::size_t>(r)], text_of(r));
}

TEST_F(CommunicatorTest, TextsMayHoldZeros) {
  const std::string mine("a\0b", 3);

  for (const std::string& text : world.all_gather(mine))
    EXPECT_EQ(text, mine);
}

TEST_F(CommunicatorTest, NumbersAreGatheredInRankOrder) {
  const std::vector<double> reals{0.5 * rank(), -1.0};
  const std::vector<std::int64_t> integers{rank(), 7, rank() + (std::int64_t{1} << 40)};

  const auto all_reals = world.all_gather(std::span<const double>(reals));
  const auto all_integers = world.all_gather(std::span<const std::int64_t>(integers));

  std::vector<double> expected_reals;
  std::vector<std::int64_t> expected_integers;
  for (int r = 0; r < size(); ++r) {
    expected_reals.insert(expected_reals.end(), {0.5 * r, -1.0});
    expected_integers.insert(expected_integers.end(), {r, 7, r + (std::int64_t{1} << 40)});
  }
  EXPECT_EQ(all_reals, expected_reals);
  EXPECT_EQ(all_integers, expected_integers);
}

TEST_F(CommunicatorTest, RaggedBytesArriveAtTheRootAlone) {
  for (int root = 0; root < size(); ++root) {
    const std::string mine = text_of(rank());

    const auto all = world.gather_v(std::as_bytes(std::span(mine)), root);

    std::string expected;
    for (int r = 0; r < size(); ++r)
      expected += text_of(r);
    EXPECT_EQ(as_text(all), rank() == root ? expected : "");
  }
}

TEST_F(CommunicatorTest, WhatIsTooMuchForOnceIsGatheredInRounds) {
  std::string expected;
  for (int r = 0; r < size(); ++r)
    expected += text_of(r);
  for (const std::size_t most : {1, 7, 64}) {
    const std::string mine = text_of(rank());

    const std::vector<std::string> texts = world.all_gather(mine, most);
    const auto bytes = world.gather_v(std::as_bytes(std::span(mine)), size() - 1, most);

    ASSERT_EQ(texts.size(), static_cast<std::size_t>(size()));
    for (int r = 0; r < size(); ++r)
      EXPECT_EQ(texts[static_cast<std::size_t>(r)], text_of(r)) << most;
    EXPECT_EQ(as_text(bytes), rank() == size() - 1 ? expected : "") << most;
  }
}

TEST_F(CommunicatorTest, EmptyTextsAreGatheredToo) {
  for (const std::string& text : world.all_gather(std::string(), 1))
    EXPECT_EQ(text, "");
  EXPECT_TRUE(world.gather_v({}, 0, 1).empty());
}

TEST_F(CommunicatorTest, MessagesGoFromOneToAnother) {
  // each rank sends to the next one and receives from the one before
  const std::string mine = "from " + std::to_string(rank());
  std::string found(mine.size(), ' ');
  const int next = (rank() + 1) % size(), before = (rank() + size() - 1) % size();

  if (rank() == 0 && size() > 1) world.send(std::as_bytes(std::span(mine)), next, 5);
  if (size() > 1) world.receive(std::as_writable_bytes(std::span(found)), before, 5);
  if (rank() != 0) world.send(std::as_bytes(std::span(mine)), next, 5);

  if (size() > 1) {
    EXPECT_EQ(found, "from " + std::to_string(before));
  }
}

TEST_F(CommunicatorTest, MessagesOfDifferentTagsDoNotMix) {
  // the starts on 2 and 4 ranks have a sender and a receiver
  if (size() < 2) return;
  const std::string a = "aa", b = "bb";
  std::string first(2, ' '), second(2, ' ');

  if (rank() == 0) {
    world.send(std::as_bytes(std::span(a)), 1, 1);
    world.send(std::as_bytes(std::span(b)), 1, 2);
  } else if (rank() == 1) {
    world.receive(std::as_writable_bytes(std::span(second)), 0, 2);
    world.receive(std::as_writable_bytes(std::span(first)), 0, 1);
    EXPECT_EQ(first + second, "aabb");
  }
}

TEST_F(CommunicatorTest, SplitGroupsByColourAndOrdersByKey) {
  const Communicator half = world.split(rank() % 2, -rank());

  std::vector<std::int64_t> expected;
  for (int r = size() - 1; r >= 0; --r)
    if (r % 2 == rank() % 2) expected.push_back(r);
  const std::int64_t mine = rank();
  EXPECT_EQ(half.all_gather(std::span(&mine, 1)), expected);
}

TEST_F(CommunicatorTest, WhatItDoesIsRecordedWithItsNameAndItsRanksInTheWorld) {
  const Communicator half = world.split(rank() % 2, -rank(), "half");
  std::vector<int> expected;
  for (int r = size() - 1; r >= 0; --r)
    if (r % 2 == rank() % 2) expected.push_back(r);

  half.barrier();
  half.sum(1);
  const base::OperationRecord last = base::flight_recorder().operations().back();

  EXPECT_EQ(half.group().ranks, expected);
  EXPECT_EQ(half.group().begun, 2u);
  EXPECT_STREQ(last.name, "all_reduce");
  EXPECT_STREQ(last.group, "half");
  EXPECT_EQ(last.bytes, 8u);
  EXPECT_TRUE(last.seconds);
}

TEST_F(CommunicatorTest, ASubsetKeepsTheGivenOrder) {
  std::vector<int> backwards = ranks_up_to(size());
  std::ranges::reverse(backwards);

  const Communicator all = world.subset(backwards);

  EXPECT_EQ(all.rank(), size() - 1 - rank());
  const std::int64_t mine = rank();
  EXPECT_EQ(all.all_gather(std::span(&mine, 1)),
            std::vector<std::int64_t>(backwards.begin(), backwards.end()));
}

TEST_F(CommunicatorTest, ASubsetNeedsOnlyItsMembers) {
  // rank 0 does not call subset(): if it had to, this test would hang
  if (rank() != 0) {
    std::vector<int> others = ranks_up_to(size());
    others.erase(others.begin());

    const Communicator some = world.subset(others);

    EXPECT_EQ(some.size(), size() - 1);
    EXPECT_EQ(some.rank(), rank() - 1);
    EXPECT_EQ(some.sum(1), size() - 1);
  }
}

TEST_F(CommunicatorTest, RanksOfOneMachineShareANode) {
  const Communicator node = world.split_by_node();

  EXPECT_EQ(node.size(), size());
  EXPECT_EQ(node.rank(), rank());
}

TEST_F(CommunicatorTest, ErrorsAreThrownAndDoNotAbort) {
  const std::byte byte{1};
  try {
    world.send(std::span(&byte, 1), size(), 0);
    ADD_FAILURE() << "there is no such rank";
  } catch (const base::SystemError& error) {
    EXPECT_EQ(error.code(), base::ExitCode::communication);
    EXPECT_NE(std::string(error.what()).find("MPI_Send"), std::string::npos);
  }
}

TEST_F(CommunicatorTest, ADerivedOneAlsoThrows) {
  const Communicator half = world.split(0, rank());
  std::byte byte{};

  EXPECT_THROW(half.receive(std::span(&byte, 1), size(), 0), base::SystemError);
}

}  // namespace
}  // namespace tetrarch::mpi
