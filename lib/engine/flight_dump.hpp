/// What this rank did last, as a text for people.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "engine/rank_state.hpp"

namespace tetrarch::engine {

/// State, groups and the last operations, a line each. `head`: lines that precede them.
std::string flight_dump(const std::string& head, const RankState& state);

}  // namespace tetrarch::engine
