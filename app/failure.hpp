/// The end of a program that fails: one message on stderr, and the exit code.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

namespace tetrarch::app {

/// How many processes the subcommand is made for.
enum class Launch { alone, ranks };

/// Says it and returns the exit code. With Launch::ranks rank 0 speaks for all; another rank waits
/// a while to be ended with it, and otherwise has failed alone. A stop is agreed on by all ranks,
/// and rank 0 alone returns its code.
int report(const base::UsageError& error, Launch launch);

/// Says what the current exception is, naming rank and host in a job of several ranks, and ends the
/// process; all ranks while an mpi::Session is active. Also serves as std::terminate_handler.
[[noreturn]] void end_with_failure() noexcept;

/// Throws UsageError(resources) where the limit on address space leaves too little for MPI to
/// begin: it would end the process itself, with exit code 1.
void check_address_space();
/// From now on a library that ends the process with exit code 1, as OpenMP does when it finds no
/// memory or no thread, ends all ranks with exit code 5 and a line.
void watch_for_exits();

}  // namespace tetrarch::app
