/// Creates a backend by its name. Only backends.cpp includes both backends.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "backend/backend.hpp"
#include "mpi/communicator.hpp"
#include "plan/run_config.hpp"

namespace tetrarch::engine {

/// Creates the backend. `automatic` selects the CPU, because the CUDA backend of this version does
/// not compute. Throws Refusal(usage) when the requested backend cannot be used, and
/// SystemError(resources) when threads cannot be started.
std::unique_ptr<backend::Backend> make_backend(plan::BackendKind kind,
                                               const mpi::Communicator& world, int num_threads);

/// The libraries that the backends compute with, with their versions at run time.
std::string describe_backends();

}  // namespace tetrarch::engine
