// Microbatches are drawn one ahead. Each is drawn once, and after a stop none is begun.
// SPDX-License-Identifier: Apache-2.0
#include "engine/queue.hpp"

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "mpi/world.hpp"

namespace tetrarch::engine {
namespace {

/// Microbatches of two sequences and 8 tokens each.
std::vector<plan::Microbatch> microbatches(std::int64_t count) {
  static const std::vector<plan::SequenceLength> two = {{0, 5}, {1, 3}};
  return std::vector<plan::Microbatch>(static_cast<std::size_t>(count), {two, 8});
}

bool never() {
  return false;
}

std::vector<std::int64_t> drawn(MicrobatchQueue& queue) {
  std::vector<std::int64_t> all;
  for (std::int64_t index = queue.next(); index >= 0; index = queue.next())
    all.push_back(index);
  return all;
}

TEST(Queue, EveryMicrobatchIsDrawnOnce) {
  const mpi::Communicator world = mpi::everyone();
  const auto all = microbatches(37);
  DrawBook book(all, never);
  MicrobatchQueue queue(world, book);

  const std::vector<std::int64_t> mine = drawn(queue);

  EXPECT_TRUE(std::ranges::is_sorted(mine));
  EXPECT_EQ(world.sum(std::ssize(mine)), 37);
  EXPECT_EQ(world.sum(std::accumulate(mine.begin(), mine.end(), std::int64_t{0})), 36 * 37 / 2);
  EXPECT_EQ(queue.next(), -1);
}

TEST(Queue, NothingToDoIsNothingDrawn) {
  const mpi::Communicator world = mpi::everyone();
  const std::vector<plan::Microbatch> none;
  DrawBook book(none, never);
  MicrobatchQueue queue(world, book);

  EXPECT_EQ(queue.next(), -1);
}

TEST(Queue, AStopLeavesWhatIsDrawnButNotBegun) {
  const mpi::Communicator world = mpi::everyone();
  const auto all = microbatches(1000);
  DrawBook book(all, [] { return true; });
  MicrobatchQueue queue(world, book);

  EXPECT_EQ(drawn(queue).size(), 1u);  // so that every attempt does some work
}

TEST(DrawBook, WhatWasDrawnTwoDrawsAgoIsDone) {
  const auto all = microbatches(3);
  DrawBook book(all, never);

  EXPECT_EQ(book.draw(0), 0);
  EXPECT_EQ(book.draw(0), 1);
  EXPECT_EQ(book.done().tokens, 0);
  EXPECT_EQ(book.draw(1), 2);
  EXPECT_EQ(book.draw(0), DrawBook::none_left);
  EXPECT_EQ(book.done().tokens, 8);
  EXPECT_EQ(book.done().sequences, 2);
}

TEST(DrawBook, AStopIsAskedForAtEachDrawButTheFirst) {
  const auto all = microbatches(9);
  bool is_asked = false;
  DrawBook book(all, [&] { return is_asked; });

  EXPECT_EQ(book.draw(0), 0);
  is_asked = true;
  EXPECT_EQ(book.draw(0), DrawBook::stopped);
  EXPECT_EQ(book.draw(1), 1);
  EXPECT_EQ(book.draw(1), DrawBook::stopped);
}

}  // namespace
}  // namespace tetrarch::engine
