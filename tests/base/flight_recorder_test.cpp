// The recorder returns what was begun and ended, also to another thread during recording.
// SPDX-License-Identifier: Apache-2.0
#include "base/flight_recorder.hpp"

#include <chrono>
#include <string>
#include <thread>

#include <gtest/gtest.h>

namespace tetrarch::base {
namespace {

TEST(FlightRecorder, ARunningOperationIsToldWithAllThatIsKnownOfIt) {
  FlightRecorder recorder;
  const GroupHandle group = recorder.add_group("tp", {4, 5, 6});
  recorder.begin_microbatch(7);
  recorder.begin_layer(3);
  recorder.enter(Phase::tp_gather);

  recorder.begin(*group.get(), {"send", OperationKind::message, 100, 2});
  const FlightStatus status = recorder.status();

  EXPECT_EQ(status.phase, Phase::tp_gather);
  EXPECT_EQ(status.microbatch, 7);
  EXPECT_EQ(status.layer, 3);
  EXPECT_EQ(status.steps, 1u);
  ASSERT_TRUE(status.running);
  EXPECT_STREQ(status.running->name, "send");
  EXPECT_STREQ(status.running->group, "tp");
  EXPECT_EQ(status.running->bytes, 100u);
  EXPECT_EQ(status.running->peer, 6);  // a world rank
  EXPECT_EQ(status.running->ranks, (std::vector<int>{4, 5, 6}));
  EXPECT_FALSE(status.running->seconds);
  EXPECT_GE(status.running->ago_s, 0);
}

TEST(FlightRecorder, WhatHasEndedRunsNoMore) {
  FlightRecorder recorder;
  const GroupHandle group = recorder.add_group("tp", {0, 1});

  EXPECT_FALSE(recorder.status().running);
  recorder.begin(*group.get(), {"barrier"});
  EXPECT_TRUE(recorder.status().running);
  recorder.end();

  EXPECT_FALSE(recorder.status().running);
  ASSERT_EQ(recorder.operations().size(), 1u);
  EXPECT_TRUE(recorder.operations().front().seconds);
}

TEST(FlightRecorder, EachStepIsAnEvent) {
  FlightRecorder recorder;
  const GroupHandle group = recorder.add_group("tp", {0, 1});
  std::uint64_t last = recorder.status().events;
  const auto has_moved = [&] {
    const std::uint64_t now = recorder.status().events;
    return std::exchange(last, now) < now;
  };

  EXPECT_FALSE(has_moved());
  recorder.enter(Phase::norm);
  EXPECT_TRUE(has_moved());
  recorder.begin(*group.get(), {"barrier"});
  EXPECT_TRUE(has_moved());
  recorder.end();
  EXPECT_TRUE(has_moved());
  EXPECT_FALSE(has_moved());
}

TEST(FlightRecorder, TheRingKeepsTheLastOnesInOrder) {
  FlightRecorder recorder;
  const GroupHandle group = recorder.add_group("tp", {0, 1});
  constexpr std::uint64_t count = 3 * FlightRecorder::capacity + 5;

  for (std::uint64_t i = 1; i <= count; ++i) {
    recorder.begin(*group.get(), {"all_gather", OperationKind::collective, i});
    recorder.end();
  }
  const std::vector<OperationRecord> found = recorder.operations();

  ASSERT_EQ(found.size(), FlightRecorder::capacity);
  for (std::size_t i = 0; i < found.size(); ++i)
    EXPECT_EQ(found[i].bytes, count - FlightRecorder::capacity + 1 + i);
}

TEST(FlightRecorder, CollectivesAreCountedOfEachGroupAndMessagesAreNot) {
  FlightRecorder recorder;
  const GroupHandle tp = recorder.add_group("tp", {0, 1}), ep = recorder.add_group("ep", {0, 2});

  recorder.begin(*tp.get(), {"barrier"});
  recorder.begin(*tp.get(), {"broadcast"});
  recorder.begin(*ep.get(), {"send", OperationKind::message, 8, 1});

  for (const auto& group : recorder.groups())
    EXPECT_EQ(group.begun, group.name == "tp" ? 2u : 0u) << group.name;
}

TEST(FlightRecorder, AGroupThatIsGoneLeavesItsNameInTheRecord) {
  FlightRecorder recorder;
  {
    const GroupHandle group = recorder.add_group("leaders", {0, 8});
    recorder.begin(*group.get(), {"barrier"});
    recorder.end();
  }
  const GroupHandle other = recorder.add_group("ep", {0, 1});  // takes the free slot

  ASSERT_EQ(recorder.groups().size(), 1u);
  EXPECT_EQ(recorder.groups().front().name, "ep");
  EXPECT_EQ(recorder.groups().front().begun, 0u);
  EXPECT_STREQ(recorder.operations().front().group, "leaders");
  EXPECT_TRUE(recorder.operations().front().ranks.empty());  // and not the ranks of "ep"
}

TEST(FlightRecorder, AReaderNeverSeesAMixtureOfTwoOperations) {
  FlightRecorder recorder;
  const GroupHandle group = recorder.add_group("tp", {0, 1});
  std::atomic<bool> is_over = false;

  std::thread reader([&] {
    while (!is_over)
      for (const OperationRecord& each : recorder.operations())
        EXPECT_EQ(std::string(each.name), each.bytes % 2 == 0 ? "even" : "odd");
  });
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    recorder.begin(*group.get(), {i % 2 == 0 ? "even" : "odd", OperationKind::collective, i});
    recorder.end();
  }
  is_over = true;
  reader.join();

  EXPECT_EQ(recorder.operations().size(), FlightRecorder::capacity);
}

TEST(FlightRecorder, TheTimelineTellsItsPhaseAndLayer) {
  Timeline timeline;

  timeline.begin_layer(5);
  timeline.enter(Phase::experts);

  EXPECT_EQ(flight_recorder().status().phase, Phase::experts);
  EXPECT_EQ(flight_recorder().status().layer, 5);
}

}  // namespace
}  // namespace tetrarch::base
