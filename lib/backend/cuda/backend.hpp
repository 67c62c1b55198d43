/// The CUDA backend. This version does not compute: it looks for devices and refuses.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/backend.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::backend {

/// Always throws Refusal(usage), on all ranks; the message names the reason and the devices
/// found.
std::unique_ptr<Backend> make_cuda_backend(const mpi::Communicator& world, int num_threads);

}  // namespace tetrarch::backend
