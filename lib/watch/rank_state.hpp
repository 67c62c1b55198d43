/// The state of a rank, as its watchdog reports it to the other ranks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/flight_recorder.hpp"

namespace tetrarch::watch {

/// A short text for a list of ranks, in order: 0 1 2 3 5 9 13 -> "0-3,5-13:4".
std::string ranks_text(std::span<const int> ranks);
/// Parses the text of ranks_text(). Returns an empty list if `text` is not valid.
std::vector<int> ranks_in(const std::string& text);

/// What a rank does at the moment, and how long it has done nothing.
struct RankState {
  int rank = 0;
  double quiet_s = 0;  // seconds since it began or ended an operation, or computed
  std::string phase;
  std::int32_t microbatch = -1, layer = -1;
  std::uint64_t steps = 0;  // number of phases entered in this microbatch
  // The operation that it waits in. Empty if it does not wait.
  std::string operation, group;  // "all_gather_v" on "tp 0-3"
  int peer = -1;                 // of a message; -1: it waits for all ranks of the group
  double waited_s = 0;
  std::map<std::string, std::uint64_t> begun;  // number of collectives begun on each group

  bool is_waiting() const { return !operation.empty(); }
  /// The ranks that it may be waiting for.
  std::vector<int> awaited() const;
  /// The state as text, for example "in all_gather_v on tp 0-3, phase tp_gather, layer 3,
  /// microbatch 7".
  std::string text() const;

  std::string to_json() const;
  /// Throws Refusal if `json` is not a valid state.
  static RankState from_json(const std::string& json);
};

/// The state of this process.
RankState own_state(int rank, double quiet_s, const base::FlightStatus& status);

}  // namespace tetrarch::watch
