/// How a run ends: stopped by a signal or on request, or done.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/log.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::app {

/// From now on a first signal asks this rank to stop, and a second one ends it.
void keep_stop_signals();

/// What the last lines of the log tell; the counts of rank 0 matter. Sequences are those that can
/// be computed.
struct RunEnd {
  std::string out;
  std::int64_t num_before = 0;  // committed by earlier attempts
  std::int64_t num_to_do = 0;   // left for this attempt
  std::int64_t num_done = 0;    // committed by it
  std::int64_t num_failed = 0;  // error records in the results
};

/// The last line of a run that ends early, and this rank's exit code. `signal`: 0 for the file
/// `stop` and for --stop-after.
int say_stopped(const RunEnd& end, const mpi::Communicator& world, int signal, base::Log& log);
/// The same of a run whose results are written.
int say_done(const RunEnd& end, const mpi::Communicator& world, base::Log& log);

}  // namespace tetrarch::app
