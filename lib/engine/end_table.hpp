/// Where the time of all ranks went: the table at the end of the log.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "base/timeline.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// One phase; seconds of a rank.
struct EndRow {
  base::Phase phase = base::Phase::other;
  bool is_startup = false;  // what `other` took before the first microbatch
  double min = 0, average = 0, max = 0;
  double cpu = 0;                  // of all threads of a rank, where it is kept; average, as below
  double waiting = 0, moving = 0;  // of the average; the rest of it is work

  std::string_view name() const { return is_startup ? "startup" : base::name_of(phase); }
};

struct EndTable {
  std::vector<EndRow> rows;                        // phases in which any rank was
  double wall = 0;                                 // of the average rank
  std::array<double, base::num_activities> cpu{};  // of all ranks, by what they did
};

/// `before`: the spending at the first microbatch's start. Every rank is always in one phase, so
/// that the averages sum to the wall. Collective.
EndTable make_end_table(const mpi::Communicator& world, const base::Spending& total,
                        const base::Spending& before);

void say_end_table(base::Log& log, const EndTable& table);

}  // namespace tetrarch::engine
