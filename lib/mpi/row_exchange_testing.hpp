/// Switches for tests only: how rows move between ranks, and faults that tests must detect.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/timeline.hpp"

namespace tetrarch::mpi::testing {

/// Makes this process skip its `number`-th (from 1) collective of tensors in `phase`. Collectives
/// of one rank do not count. 0: skip none.
void set_left_out(base::Phase phase, int number);

/// Sets the approximate size in bytes of the pieces in which tensors are sent. It must be the same
/// on all ranks.
void set_piece_bytes(std::int64_t bytes);

/// Makes this process wait `seconds` before each piece of its next collective of tensors in
/// `phase`.
void set_slow_exchange(base::Phase phase, double seconds);

}  // namespace tetrarch::mpi::testing
