/// Faults that tests switch on. They are off in normal runs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace tetrarch::engine::testing {

/// Makes the ranks of instance `dp` sleep `seconds` after each microbatch.
void set_slow_instance(int dp, double seconds);
/// Sleeps if set_slow_instance() asks for it.
void delay(int dp);

}  // namespace tetrarch::engine::testing
