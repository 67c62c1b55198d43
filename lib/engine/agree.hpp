/// Turns what one rank found wrong into the same UsageError on every rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// What a rank has to say after its part of a collective effort; nothing when all went well.
struct Problem {
  base::ExitCode code;
  std::string message;
};

/// Runs `action` and catches what it has to say: UsageError and SystemError become a Problem.
std::optional<Problem> attempt(const std::function<void()>& action);

/// Collective: throws the lowest rank's problem as a UsageError on every rank, if there is any.
void agree(const mpi::Communicator& world, const std::optional<Problem>& mine);

/// `action` on rank 0 alone; what it throws is thrown on every rank.
void on_root(const mpi::Communicator& world, const std::function<void()>& action);

/// Collective: number of the signal by which a rank was asked to stop; 0: none was.
int agreed_stop_signal(const mpi::Communicator& world);

}  // namespace tetrarch::engine
