/// Faults that tests switch on; a run never does.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace tetrarch::engine::testing {

/// The ranks of instance `dp` sleep so long after each microbatch.
void set_slow_instance(int dp, double seconds);
/// Does so.
void delay(int dp);

}  // namespace tetrarch::engine::testing
