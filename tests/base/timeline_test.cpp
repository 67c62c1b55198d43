// The timeline is always in exactly one phase, so the phases add up to the wall time.
// SPDX-License-Identifier: Apache-2.0
#include "base/timeline.hpp"

#include <cmath>
#include <numeric>
#include <set>
#include <thread>

#include <gtest/gtest.h>

namespace tetrarch::base {
namespace {

void wait_ms(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

double seconds_of(const std::vector<PhaseRecord>& records) {
  return std::accumulate(records.begin(), records.end(), 0.0,
                         [](double sum, const PhaseRecord& r) { return sum + r.seconds; });
}

double seconds_of(const std::array<Spent, num_activities>& of_phase) {
  return std::accumulate(of_phase.begin(), of_phase.end(), 0.0,
                         [](double sum, const Spent& spent) { return sum + spent.seconds; });
}

const PhaseRecord* find(const std::vector<PhaseRecord>& records, Phase phase, int layer = -1) {
  for (const PhaseRecord& record : records)
    if (record.phase == phase && record.layer == layer) return &record;
  return nullptr;
}

TEST(Timeline, PhasesSumToTheTimeSinceItWasMade) {
  Timeline timeline;
  const double made = timeline.now();
  for (int turn = 0; turn < 5; ++turn) {
    timeline.enter(Phase::qkv);
    wait_ms(2);
    timeline.enter(Phase::attention);
    wait_ms(1);
    timeline.cut(turn);
  }
  timeline.enter(Phase::commit);
  wait_ms(2);

  const double before = timeline.now();
  const Spending spending = timeline.spending();
  const double after = timeline.now();

  const auto seconds = [&](Phase phase) { return seconds_of(spending[static_cast<int>(phase)]); };
  double sum = 0;
  for (const auto& of_phase : spending)
    sum += seconds_of(of_phase);
  EXPECT_GE(sum, before - made - 1e-9);  // 1e-9 s: rounding of the clock
  EXPECT_LE(sum, after + 1e-9);
  EXPECT_GE(seconds(Phase::qkv), 0.010);
  EXPECT_GE(seconds(Phase::attention), 0.005);
  EXPECT_GE(seconds(Phase::commit), 0.002);  // the current phase counts too
  EXPECT_EQ(seconds(Phase::head), 0.0);
}

TEST(Timeline, ActivitiesShareTheTimeOfTheirPhase) {
  Timeline timeline;
  timeline.keep_cpu(true);
  timeline.enter(Phase::dispatch);
  {
    const During waiting(timeline, Activity::waiting);
    wait_ms(3);
    {
      const During moving(timeline, Activity::moving);
      wait_ms(2);
    }
  }
  double sum = 0;
  for (int i = 0; i < 2'000'000; ++i)
    sum += std::sqrt(static_cast<double>(i));
  ASSERT_GT(sum, 0);
  timeline.enter(Phase::other);

  const auto spent = timeline.spending()[static_cast<int>(Phase::dispatch)];
  const Spent work = spent[static_cast<int>(Activity::work)];
  const Spent waiting = spent[static_cast<int>(Activity::waiting)];
  const Spent moving = spent[static_cast<int>(Activity::moving)];
  EXPECT_GE(waiting.seconds, 0.003);
  EXPECT_GE(moving.seconds, 0.002);
  EXPECT_GT(work.cpu_seconds, 0);
  const std::vector<PhaseRecord> records = timeline.cut(0);
  const PhaseRecord* dispatch = find(records, Phase::dispatch);
  ASSERT_NE(dispatch, nullptr);
  EXPECT_NEAR(seconds_of(spent), dispatch->seconds, 1e-9);
}

TEST(Timeline, CpuTimeIsKeptOnRequestAlone) {
  Timeline timeline;
  timeline.enter(Phase::head);
  wait_ms(1);

  for (const auto& phase : timeline.spending())
    for (const Spent& spent : phase)
      EXPECT_EQ(spent.cpu_seconds, 0);
}

TEST(Timeline, CutsShareTheTimeWithoutGaps) {
  Timeline timeline;
  timeline.enter(Phase::norm);
  wait_ms(1);
  const auto first = timeline.cut(0);
  const double between = timeline.now();
  wait_ms(1);
  const auto second = timeline.cut(1);
  const double end = timeline.now();

  EXPECT_LE(seconds_of(first), between);
  EXPECT_LE(seconds_of(first) + seconds_of(second), end);
  EXPECT_GE(seconds_of(second), 0.001);
  ASSERT_EQ(second.size(), 1u);  // the current phase continues after a cut
  EXPECT_EQ(second[0].phase, Phase::norm);
  EXPECT_EQ(second[0].microbatch, 1);
  EXPECT_NEAR(second[0].start_s, first.front().start_s + seconds_of(first), 1e-9);
}

TEST(Timeline, APhaseEnteredTwiceIsOneRecord) {
  Timeline timeline;
  timeline.enter(Phase::norm);
  timeline.add_flops(10);
  timeline.enter(Phase::router);
  timeline.add_bytes(3);
  timeline.enter(Phase::norm);
  timeline.add_flops(5);
  timeline.add_bytes(1);

  const auto records = timeline.cut(4);

  ASSERT_EQ(records.size(), 3u);  // one of them is the time before the first phase
  const PhaseRecord* norm = find(records, Phase::norm);
  ASSERT_NE(norm, nullptr);
  EXPECT_EQ(norm->flops, 15u);
  EXPECT_EQ(norm->bytes, 1u);
  EXPECT_EQ(norm->microbatch, 4);
  EXPECT_EQ(find(records, Phase::router)->bytes, 3u);
  EXPECT_EQ(timeline.total_flops(), 15u);
}

TEST(Timeline, LayersAreKeptApartOnlyWhenAsked) {
  for (const bool keeps : {false, true}) {
    Timeline timeline;
    timeline.keep_layers(keeps);
    for (int layer = 0; layer < 3; ++layer) {
      timeline.begin_layer(layer);
      timeline.enter(Phase::norm);
      timeline.add_flops(1);
    }
    timeline.begin_layer(-1);

    const auto records = timeline.cut(0);

    if (keeps) {
      for (int layer = 0; layer < 3; ++layer) {
        const PhaseRecord* record = find(records, Phase::norm, layer);
        ASSERT_NE(record, nullptr) << layer;
        EXPECT_EQ(record->flops, 1u);
      }
    } else {
      ASSERT_NE(find(records, Phase::norm), nullptr);
      EXPECT_EQ(find(records, Phase::norm)->flops, 3u);
    }
  }
}

TEST(Timeline, RecordsStartWhereTheirPhaseWasEntered) {
  Timeline timeline(Timeline::Clock::now() - std::chrono::seconds(10));
  timeline.enter(Phase::head);
  const auto records = timeline.cut(0);

  const PhaseRecord* head = find(records, Phase::head);
  ASSERT_NE(head, nullptr);
  EXPECT_GE(head->start_s, 10.0);
  EXPECT_LE(head->start_s + head->seconds, timeline.now());
}

TEST(Timeline, EveryPhaseHasAShortNameOfItsOwn) {
  std::set<std::string_view> names;
  for (int phase = 0; phase < num_phases; ++phase) {
    const std::string_view name = name_of(static_cast<Phase>(phase));
    EXPECT_FALSE(name.empty());
    EXPECT_LE(name.size(), 15u);  // /timing/phases has 16 bytes for a name and its zero byte
    names.insert(name);
  }

  EXPECT_EQ(names.size(), static_cast<std::size_t>(num_phases));
  EXPECT_EQ(name_of(Phase::load), "load");
  EXPECT_EQ(name_of(Phase::tp_reduce), "tp_reduce");
  EXPECT_EQ(name_of(Phase::other), "other");
}

}  // namespace
}  // namespace tetrarch::base
