/// The CUDA backend: one GPU for each rank; ranks exchange rows by MPI through host memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/backend.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::backend {

/// Throws Refusal(usage) on all ranks when a rank has no GPU, or when the program was built without
/// CUDA; the message names the reason. Collective over `world`, which must live longer.
std::unique_ptr<Backend> make_cuda_backend(const mpi::Communicator& world, int num_threads);

}  // namespace tetrarch::backend
