// SPDX-License-Identifier: Apache-2.0
#include "run_end.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/host_name.hpp"
#include "base/stop_signal.hpp"
#include "base/text.hpp"
#include "mpi/launcher.hpp"

namespace tetrarch::app {
namespace {

using base::count_text;
using base::ExitCode;

/// The exit code of this rank: `code` on rank 0, 0 on the others.
int code_of(ExitCode code, const mpi::Communicator& world) {
  return static_cast<int>(world.rank() == 0 ? code : ExitCode::done);
}

}  // namespace

void keep_stop_signals() {
  const mpi::Launcher launcher = mpi::find_launcher();
  const std::string who =
      launcher.name == "none" ? "" : fmt::format("[rank {} {}] ", launcher.rank, base::host_name());
  base::keep_stop_signals(who, launcher.rank == 0 ? base::Speaks::at_once : base::Speaks::later);
}

int say_stopped(const RunEnd& end, const mpi::Communicator& world, int signal, base::Log& log) {
  log.say("stopped  {}: {} of {} sequences are committed in {}. The same command does the rest.",
          signal == 0 ? "early on request" : "by " + base::signal_name(signal),
          count_text(end.num_before + end.num_done), count_text(end.num_before + end.num_to_do),
          end.out);
  return code_of(ExitCode::stopped_early, world);
}

int say_done(const RunEnd& end, const mpi::Communicator& world, base::Log& log) {
  log.say("results  {}/results.h5", end.out);
  if (end.num_failed == 0) return code_of(ExitCode::done, world);
  log.say("done     with {}: see /sequences/status and /sequences/error.",
          base::counted(end.num_failed, "error record"));
  return code_of(ExitCode::done_with_failures, world);
}

}  // namespace tetrarch::app
