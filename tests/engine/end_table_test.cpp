// The phases of each rank add up to its wall time, and the table tells how much of it was waiting.
// SPDX-License-Identifier: Apache-2.0
#include "engine/end_table.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>

#include <gtest/gtest.h>

#include "mpi/world.hpp"

namespace tetrarch::engine {
namespace {

using base::Activity;
using base::Phase;

void sleep_ms(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

const EndRow* find(const EndTable& table, std::string_view name) {
  const auto at = std::ranges::find(table.rows, name, &EndRow::name);
  return at == table.rows.end() ? nullptr : &*at;
}

double seconds_of(const base::Spending& spending) {
  double sum = 0;
  for (const auto& phase : spending)
    for (const base::Spent& spent : phase)
      sum += spent.seconds;
  return sum;
}

/// The steps of a job; their times differ from rank to rank.
struct Job {
  explicit Job(int rank) {
    timeline.keep_cpu(true);
    timeline.enter(Phase::load);
    sleep_ms(5);
    timeline.enter(Phase::other);
    sleep_ms(10);
    before = timeline.spending();
    timeline.enter(Phase::experts);
    sleep_ms(5 + 10 * rank);
    timeline.enter(Phase::other);
    const base::During waiting(timeline, Activity::waiting);
    world.barrier();
    sleep_ms(3);
  }
  mpi::Communicator world = mpi::everyone();
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  base::Timeline timeline{started};
  base::Spending before{};
};

TEST(EndTable, ThePhasesOfEachRankAddUpToItsWall) {
  Job job(mpi::everyone().rank());

  const auto now = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - job.started).count();
  };
  const double before = now();
  const double sum = seconds_of(job.timeline.spending());
  const double after = now();
  EXPECT_GE(sum, 0.99 * before);
  EXPECT_LE(sum, 1.01 * after);
}

TEST(EndTable, RowsAddUpToTheAverageWall) {
  Job job(mpi::everyone().rank());
  const base::Spending total = job.timeline.spending();

  const EndTable table = make_end_table(job.world, total, job.before);
  const double own = seconds_of(total);
  const std::vector<double> walls = job.world.all_gather(std::span<const double>(&own, 1));
  const double average =
      std::accumulate(walls.begin(), walls.end(), 0.0) / static_cast<double>(walls.size());
  EXPECT_NEAR(table.wall, average, 1e-9);
  double sum = 0;
  for (const EndRow& row : table.rows) {
    sum += row.average;
    EXPECT_LE(row.min, row.average + 1e-9);
    EXPECT_GE(row.max, row.average - 1e-9);
    EXPECT_LE(row.waiting + row.moving, row.average + 1e-9);
    EXPECT_GE(row.cpu, 0);
  }
  EXPECT_NEAR(sum, table.wall, 1e-9);
  double cpu = 0;
  for (const EndRow& row : table.rows)
    cpu += row.cpu * job.world.size();
  EXPECT_NEAR(std::accumulate(table.cpu.begin(), table.cpu.end(), 0.0), cpu, 1e-9);
}

TEST(EndTable, StartupAndWaitingAreToldApart) {
  Job job(mpi::everyone().rank());

  const EndTable table = make_end_table(job.world, job.timeline.spending(), job.before);
  const EndRow *startup = find(table, "startup"), *other = find(table, "other"),
               *experts = find(table, "experts");
  ASSERT_TRUE(startup != nullptr && other != nullptr && experts != nullptr);
  EXPECT_GE(startup->min, 0.010);
  EXPECT_EQ(startup->waiting, 0);
  EXPECT_GE(other->waiting, 0.003);
  EXPECT_GE(experts->max, 0.005 + 0.010 * (job.world.size() - 1));
  EXPECT_EQ(experts->waiting + experts->moving, 0);
  EXPECT_EQ(find(table, "head"), nullptr);
}

}  // namespace
}  // namespace tetrarch::engine
