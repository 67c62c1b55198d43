/// The CPU backend: it computes with own kernels and oneDNN, and communicates by MPI.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/backend.hpp"
#include "backend/cpu/kernels/gemm.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::backend {

/// Creates a backend that computes on num_threads >= 1 OpenMP threads. `world` must outlive the
/// backend. Tests may set `gemm`, the family of product kernels. Throws SystemError(resources) when
/// a thread cannot be started.
std::unique_ptr<Backend> make_cpu_backend(const mpi::Communicator& world, int num_threads,
                                          cpu::GemmChoice gemm = cpu::GemmChoice::automatic);

}  // namespace tetrarch::backend
