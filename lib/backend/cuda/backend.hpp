/// The CUDA backend: in this version it finds the devices and says why it does not compute.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/backend.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::backend {

/// Throws UsageError(usage), on each rank alike.
std::unique_ptr<Backend> make_cuda_backend(const mpi::Communicator& world, int num_threads);

}  // namespace tetrarch::backend
