/// Seconds by the clock that never jumps.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <utility>

namespace tetrarch::base {

using Clock = std::chrono::steady_clock;

/// Returns the seconds since `at` and sets `at` to now.
inline double seconds_since(Clock::time_point& at) {
  const Clock::time_point now = Clock::now();
  return std::chrono::duration<double>(now - std::exchange(at, now)).count();
}

}  // namespace tetrarch::base
