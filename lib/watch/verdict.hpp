/// Judges the states of all ranks: do they work, or will the job never end?
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "watch/rank_state.hpp"

namespace tetrarch::watch {

/// What judge() makes of ranks without an answer. tolerated: they still have time to answer, and
/// are left alone. judged: their time is over, and they count as stopped.
enum class Silence { tolerated, judged };

/// The result of judge().
struct Verdict {
  std::vector<int> ranks;   // the ranks at fault; empty: the job goes on
  std::string problem;      // names them with host, phase and operation; no full stop at its end
  double look_again_s = 0;  // if the job goes on: seconds after which to ask again
};

/// Judges the answers of all ranks. answers: the state of each rank, absent if it has not answered.
/// hosts: the host of each rank.
/// A rank that is quiet for limit_s may be waiting for another rank that works. It will wait for
/// ever only if all ranks that it waits for, directly or through others, have also been quiet for
/// limit_s.
/// asker: the rank that asked; look_again_s is computed from the ranks that it waits for.
Verdict judge(std::span<const std::optional<RankState>> answers, std::span<const std::string> hosts,
              int asker, double limit_s, Silence silence);

}  // namespace tetrarch::watch
