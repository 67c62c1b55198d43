/// The CPU backend: own kernels and oneDNN to compute, MPI to communicate.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/backend.hpp"
#include "backend/cpu/kernels/gemm.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::backend {

/// `world` outlives the backend; num_threads >= 1 OpenMP threads compute. `gemm` is for tests.
std::unique_ptr<Backend> make_cpu_backend(const mpi::Communicator& world, int num_threads,
                                          cpu::GemmChoice gemm = cpu::GemmChoice::automatic);

}  // namespace tetrarch::backend
