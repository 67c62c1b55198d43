// Bytes are sent without waiting: complete, in order, and never more in transit than allowed.
// SPDX-License-Identifier: Apache-2.0
#include "engine/outbox.hpp"

#include <algorithm>
#include <random>
#include <stdexcept>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "mpi/world.hpp"

namespace tetrarch::engine {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::int64_t megabyte = 1 << 20;  // far more than MPI buffers internally
constexpr int num_tags = 3;

struct Letter {
  int tag;
  Bytes bytes;
};

/// The messages from `from` to `to`. Both ranks can compute them, and all of them differ.
std::vector<Letter> letters_of(int from, int to, int count, int largest) {
  std::mt19937 random(static_cast<unsigned>(1000 * from + to));
  std::uniform_int_distribution<int> size(0, largest), tag(0, num_tags - 1), value(0, 255);
  std::vector<Letter> letters(static_cast<std::size_t>(count));
  for (Letter& letter : letters) {
    letter.tag = tag(random);
    letter.bytes.resize(static_cast<std::size_t>(size(random)));
    std::ranges::generate(letter.bytes, [&] { return std::byte(value(random)); });
  }
  return letters;
}

struct OutboxTest : ::testing::Test {
  mpi::Communicator world = mpi::everyone();

  int rank() const { return world.rank(); }
  void expect_arrives(const Bytes& expected, int from, int tag) {
    Bytes found(expected.size());
    world.receive(found, from, tag);
    EXPECT_EQ(found == expected, true) << expected.size() << " bytes of rank " << from;
  }
};

TEST_F(OutboxTest, ManyLettersArriveWholeAndInOrderAndNeverTooManyAtOnce) {
  constexpr std::int64_t most_bytes = 50'000;
  constexpr int count = 300, largest = 20'000;
  for (int receiver = 0; receiver < world.size(); ++receiver) {
    if (rank() == receiver) {
      std::vector<std::vector<Letter>> expected;
      for (int from = 0; from < world.size(); ++from)
        expected.push_back(letters_of(from, receiver, count, largest));
      for (std::size_t i = 0; i < count; ++i)
        for (int from = 0; from < world.size(); ++from) {
          const Letter& letter = expected[static_cast<std::size_t>(from)][i];
          if (from != receiver) expect_arrives(letter.bytes, from, letter.tag);
        }
    } else {
      Outbox outbox(world, most_bytes);
      for (Letter& letter : letters_of(rank(), receiver, count, largest)) {
        outbox.post(std::move(letter.bytes), receiver, letter.tag);
        EXPECT_LE(outbox.bytes_under_way(), most_bytes);
      }
      outbox.flush();
      EXPECT_EQ(outbox.bytes_under_way(), 0);
    }
    world.barrier();
  }
}

TEST_F(OutboxTest, EachTagKeepsItsOrderHoweverTagsAreReceived) {
  constexpr int count = 100, largest = 10'000;
  Outbox outbox(world, std::int64_t{count} * largest * world.size());
  for (int to = 0; to < world.size(); ++to)
    if (to != rank())
      for (Letter& letter : letters_of(rank(), to, count, largest))
        outbox.post(std::move(letter.bytes), to, letter.tag);

  for (int from = 0; from < world.size(); ++from)
    for (int tag = num_tags - 1; from != rank() && tag >= 0; --tag)
      for (const Letter& letter : letters_of(from, rank(), count, largest))
        if (letter.tag == tag) expect_arrives(letter.bytes, from, tag);
  outbox.flush();
}

TEST_F(OutboxTest, APostDoesNotWaitForItsReceiver) {
  const Bytes large(megabyte, std::byte{7}), go(1);
  if (rank() == 0) {
    Outbox outbox(world, 2 * megabyte);
    outbox.post(large, 1, 0);
    EXPECT_EQ(outbox.bytes_under_way(), megabyte);
    world.send(go, 1, 1);  // not reached if post() waits
  } else if (rank() == 1) {
    expect_arrives(go, 0, 1);
    expect_arrives(large, 0, 0);
  }
}

TEST_F(OutboxTest, APostWaitsWhenTooMuchIsUnderWay) {
  const Bytes large(megabyte, std::byte{1}), larger(3 * megabyte, std::byte{2});
  if (rank() == 0) {
    Outbox outbox(world, megabyte);
    for (int i = 0; i < 5; ++i) {
      outbox.post(large, 1, 0);
      EXPECT_EQ(outbox.bytes_under_way(), megabyte);
    }
    outbox.post(larger, 1, 0);  // larger than the bound: in transit alone
    EXPECT_EQ(outbox.bytes_under_way(), 3 * megabyte);
    outbox.post({}, 1, 0);
    EXPECT_EQ(outbox.bytes_under_way(), 0);
  } else if (rank() == 1) {
    for (int i = 0; i < 5; ++i)
      expect_arrives(large, 0, 0);
    expect_arrives(larger, 0, 0);
  }
}

TEST_F(OutboxTest, TheDestructorWaitsForWhatIsUnderWay) {
  const Bytes large(megabyte, std::byte{9});
  if (rank() == 0) {
    Outbox(world, megabyte).post(large, 1, 0);
  } else if (rank() == 1) {
    expect_arrives(large, 0, 0);
  }
}

TEST_F(OutboxTest, AnExceptionDoesNotWaitForAPeer) {
  const Bytes large(megabyte, std::byte{5}), go(1);
  if (rank() == 0) {
    try {
      Outbox outbox(world, megabyte);
      outbox.post(large, 1, 0);
      throw std::runtime_error("lost");
    } catch (const std::runtime_error&) {
    }
    world.send(go, 1, 1);  // not reached if the destructor waits
    world.barrier();
  } else {
    if (rank() == 1) {
      expect_arrives(go, 0, 1);
      expect_arrives(large, 0, 0);  // abandoned, but its memory was not reused
    }
    world.barrier();
  }
}

TEST_F(OutboxTest, ARankThatIsNotThereIsAnError) {
  Outbox outbox(world, megabyte);

  EXPECT_THROW(outbox.post(Bytes(1), world.size(), 0), base::SystemError);
}

}  // namespace
}  // namespace tetrarch::engine
