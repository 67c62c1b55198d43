/// Agreement between ranks on errors: a problem that one rank found becomes the same Refusal on
/// every rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// The problem that a rank had in its part of a collective task. No Problem: the rank succeeded.
struct Problem {
  base::ExitCode code;
  std::string message;
};

/// Runs `action`. A Refusal or SystemError that it throws is caught and returned as a Problem.
/// Returns nothing if it succeeds.
std::optional<Problem> attempt(const std::function<void()>& action);

/// Collective. If any rank has a problem, throws the problem of the lowest such rank as a
/// Refusal on every rank.
void agree(const mpi::Communicator& world, const std::optional<Problem>& mine);

/// Collective. Runs `action` on rank 0 only. An error that it throws is thrown on every rank, as
/// Refusal.
void on_root(const mpi::Communicator& world, const std::function<void()>& action);

/// Collective. Returns the number of a signal that asked a rank to stop, the same on every rank; 0
/// if there was none.
int agreed_stop_signal(const mpi::Communicator& world);

}  // namespace tetrarch::engine
