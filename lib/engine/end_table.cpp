// SPDX-License-Identifier: Apache-2.0
#include "engine/end_table.hpp"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

namespace tetrarch::engine {

using base::Activity;
using base::Spent;

namespace {

constexpr int num_rows = base::num_phases + 1;  // the last row is startup
constexpr int row_size = 2 * base::num_activities;

/// Seconds by activity, then CPU seconds by activity.
using OwnRow = std::array<double, row_size>;

void add(OwnRow& row, const std::array<Spent, base::num_activities>& spent, double sign) {
  for (int activity = 0; activity < base::num_activities; ++activity) {
    row[activity] += sign * spent[activity].seconds;
    row[base::num_activities + activity] += sign * spent[activity].cpu_seconds;
  }
}

EndRow row_of(int number, const std::vector<double>& all, int num_ranks) {
  EndRow row;
  row.is_startup = number == base::num_phases;
  if (!row.is_startup) row.phase = static_cast<base::Phase>(number);
  for (int rank = 0; rank < num_ranks; ++rank) {
    const double* own = &all[(rank * num_rows + number) * row_size];
    const double* cpu = own + base::num_activities;
    const double seconds = std::accumulate(own, cpu, 0.0);
    row.min = rank == 0 ? seconds : std::min(row.min, seconds);
    row.max = std::max(row.max, seconds);
    row.average += seconds / num_ranks;
    row.waiting += own[static_cast<int>(Activity::waiting)] / num_ranks;
    row.moving += own[static_cast<int>(Activity::moving)] / num_ranks;
    row.cpu += std::accumulate(cpu, cpu + base::num_activities, 0.0) / num_ranks;
  }
  return row;
}

}  // namespace

EndTable make_end_table(const mpi::Communicator& world, const base::Spending& total,
                        const base::Spending& before) {
  constexpr int other = static_cast<int>(base::Phase::other);
  std::array<OwnRow, num_rows> own{};
  for (int phase = 0; phase < base::num_phases; ++phase)
    add(own[phase], total[phase], 1);
  add(own[other], before[other], -1);
  add(own[base::num_phases], before[other], 1);

  const std::vector<double> all =
      world.all_gather(std::span<const double>(own[0].data(), num_rows * row_size));
  EndTable table;
  for (int number = 0; number < num_rows; ++number) {
    const EndRow row = row_of(number, all, world.size());
    table.wall += row.average;
    if (row.max > 0) table.rows.push_back(row);
  }
  for (std::size_t at = 0; at < all.size(); at += row_size)
    for (int activity = 0; activity < base::num_activities; ++activity)
      table.cpu[activity] += all[at + base::num_activities + activity];
  return table;
}

void say_end_table(base::Log& log, const EndTable& table) {
  const double cpu = std::accumulate(table.cpu.begin(), table.cpu.end(), 0.0);
  const auto cpu_text = [&](double seconds) {
    return cpu > 0 ? fmt::format("{:.3f}", seconds) : "-";
  };
  log.say("");
  log.say("{:<10} {:>10} {:>10} {:>10} {:>8} {:>7} {:>10} {:>10} {:>10}", "section", "min s",
          "avg s", "max s", "imbal", "% wall", "cpu s", "wait s", "move s");
  EndRow sum;
  double percent = 0;
  for (const EndRow& row : table.rows) {
    const double share = 100 * row.average / table.wall;
    percent += share;
    sum.cpu += row.cpu;
    sum.waiting += row.waiting;
    sum.moving += row.moving;
    log.say("{:<10} {:>10.3f} {:>10.3f} {:>10.3f} {:>7.1f}% {:>7.1f} {:>10} {:>10.3f} {:>10.3f}",
            row.name(), row.min, row.average, row.max,
            row.average > 0 ? 100 * (row.max / row.average - 1) : 0.0, share, cpu_text(row.cpu),
            row.waiting, row.moving);
  }
  log.say("{:<10} {:>10} {:>10.3f} {:>10} {:>8} {:>7.1f} {:>10} {:>10.3f} {:>10.3f}", "sum", "",
          table.wall, "", "", percent, cpu_text(sum.cpu), sum.waiting, sum.moving);
  if (cpu > 0)
    log.say("CPU of all ranks: {:.3f} s working, {:.3f} s waiting, {:.3f} s moving", table.cpu[0],
            table.cpu[1], table.cpu[2]);
}

}  // namespace tetrarch::engine
