/// Ends a program that fails: writes one message on stderr and gives the exit code.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

namespace tetrarch::app {

/// Whether the subcommand runs as one process or as the ranks of an MPI job.
enum class Launch { alone, ranks };

/// Writes the message of `error` and returns its exit code.
/// With Launch::ranks rank 0 writes it for all ranks. Any other rank first waits 5 s, in which
/// mpirun usually ends it; if it is still alive, it writes the message itself, where mpirun is the
/// launcher. For stopped_early, on which all ranks have agreed, the other ranks return 0 at once.
int report(const base::Refusal& error, Launch launch);

/// Writes the message of the current exception and ends the process with its exit code. While an
/// mpi::Session is active, the message names rank and host, and all ranks are ended. Also serves as
/// std::terminate_handler.
[[noreturn]] void end_with_failure() noexcept;

/// Throws Refusal(resources) when the limit on address space leaves less than 512 MiB, too
/// little for MPI to start. Without this check MPI would end the process itself, with exit code 1.
void check_address_space();
/// From now on, when a library calls exit(1) while MPI is active, a line is written and all ranks
/// end with exit code 5. OpenMP does so when it gets no memory or no thread.
void watch_for_exits();

}  // namespace tetrarch::app
