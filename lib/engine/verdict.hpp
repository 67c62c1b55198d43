/// What the states of all ranks mean: work, or a job that will never end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/rank_state.hpp"

namespace tetrarch::engine {

/// Does a rank without an answer wait for its turn, or has it had its time?
enum class Silence { tolerated, judged };

struct Verdict {
  std::vector<int> ranks;   // who is to blame; empty: the job goes on
  std::string problem;      // names them with host, phase and operation; a sentence without its dot
  double look_again_s = 0;  // when the job goes on: after so long the answer may be another
};

/// answers: of all ranks, absent where there is none; hosts: of all ranks. A rank that is quiet for
/// `limit_s` may wait for another: only when nobody whom it waits for, directly or through others,
/// has done anything for as long, will it wait for ever. `asker`: whose wait decides when to look
/// again.
Verdict judge(std::span<const std::optional<RankState>> answers, std::span<const std::string> hosts,
              int asker, double limit_s, Silence silence);

}  // namespace tetrarch::engine
