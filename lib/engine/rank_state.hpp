/// What a rank is at, as its watchdog tells the others.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/flight_recorder.hpp"

namespace tetrarch::engine {

/// Ranks in few words, in their order: 0 1 2 3 5 9 13 -> "0-3,5-13:4".
std::string ranks_text(std::span<const int> ranks);
/// And back; empty when `text` is none of these.
std::vector<int> ranks_in(const std::string& text);

struct RankState {
  int rank = 0;
  double quiet_s = 0;  // since it began or ended something, or computed
  std::string phase;
  std::int32_t microbatch = -1, layer = -1;
  std::uint64_t steps = 0;  // phases entered in this microbatch
  // What it waits in; without it, it works on its own.
  std::string operation, group;  // "all_gather_v" on "tp 0-3"
  int peer = -1;                 // of a message; else it waits for all of the group
  double waited_s = 0;
  std::map<std::string, std::uint64_t> begun;  // collectives, of each group

  bool is_waiting() const { return !operation.empty(); }
  /// Whom it may be waiting for.
  std::vector<int> awaited() const;
  /// "in all_gather_v on tp 0-3, phase tp_gather, layer 3, microbatch 7"
  std::string text() const;

  std::string to_json() const;
  /// Throws UsageError when `json` is none.
  static RankState from_json(const std::string& json);
};

/// Of this process.
RankState own_state(int rank, double quiet_s, const base::FlightStatus& status);

}  // namespace tetrarch::engine
