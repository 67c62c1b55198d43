/// The end of a run: the last lines of the log, and the exit code.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/log.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::app {

/// From now on the first of INT, TERM and USR1 asks this rank to stop, and a second one ends it at
/// once (base/stop_signal.hpp).
void keep_stop_signals();

/// The numbers in the last lines of the log; only those of rank 0 are used. Sequences that cannot
/// be computed (their labels are bad) are not counted.
struct RunEnd {
  std::string out;
  std::int64_t num_before = 0;  // committed by earlier attempts
  std::int64_t num_to_do = 0;   // left for this attempt
  std::int64_t num_done = 0;    // committed by this attempt
  std::int64_t num_failed = 0;  // error records in the results
};

/// Logs that the run was stopped, and returns this rank's exit code: 85 on rank 0, 0 on the others.
/// `signal` is the signal's number; 0 for the file `stop` and for --stop-after.
int say_stopped(const RunEnd& end, const mpi::Communicator& world, int signal, base::Log& log);
/// Logs where the results are, and returns this rank's exit code: 0, or 8 on rank 0 when there are
/// error records.
int say_done(const RunEnd& end, const mpi::Communicator& world, base::Log& log);

}  // namespace tetrarch::app
