/// A report of the last operations of this rank, as text.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "watch/rank_state.hpp"

namespace tetrarch::watch {

/// The state, the groups and the last operations, one line each. `head`: lines to print first.
std::string flight_dump(const std::string& head, const RankState& state);

}  // namespace tetrarch::watch
