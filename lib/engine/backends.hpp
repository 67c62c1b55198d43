/// From a name to a backend; the one place that knows both.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "backend/backend.hpp"
#include "mpi/communicator.hpp"
#include "plan/run_config.hpp"

namespace tetrarch::engine {

/// `automatic` takes the CPU: the CUDA backend of this version does not compute.
/// Throws UsageError(usage) when the backend asked for cannot be had.
std::unique_ptr<backend::Backend> make_backend(plan::BackendKind kind,
                                               const mpi::Communicator& world, int num_threads);

/// Libraries that the backends compute with, and their versions at run time.
std::string describe_backends();

}  // namespace tetrarch::engine
