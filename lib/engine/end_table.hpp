/// The table at the end of the log: how much time all ranks spent in each phase.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "base/timeline.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// One phase; times in seconds. min, average and max are over ranks.
struct EndRow {
  base::Phase phase = base::Phase::other;
  bool is_startup = false;  // the time in phase `other` before the first microbatch
  double min = 0, average = 0, max = 0;
  double cpu = 0;  // CPU time of all threads of a rank, 0 if not recorded; average over ranks
  double waiting = 0, moving = 0;  // parts of `average`; the rest of it is work

  std::string_view name() const { return is_startup ? "startup" : base::name_of(phase); }
};

/// The whole table; times in seconds.
struct EndTable {
  std::vector<EndRow> rows;                        // phases in which any rank spent time
  double wall = 0;                                 // average over ranks
  std::array<double, base::num_activities> cpu{};  // sum over ranks, by activity
};

/// Collective. `before` is the time spent before the first microbatch. Every rank is in exactly one
/// phase at any time, so the averages sum up to the wall time.
EndTable make_end_table(const mpi::Communicator& world, const base::Spending& total,
                        const base::Spending& before);

/// Prints the table to the log.
void say_end_table(base::Log& log, const EndTable& table);

}  // namespace tetrarch::engine
