// SPDX-License-Identifier: Apache-2.0
#include "engine/backends.hpp"

#include "backend/cpu/backend.hpp"
#include "backend/cuda/backend.hpp"

namespace tetrarch::engine {

std::unique_ptr<backend::Backend> make_backend(plan::BackendKind kind,
                                               const mpi::Communicator& world, int num_threads) {
  const bool wants_cuda =
      kind == plan::BackendKind::cuda ||
      (kind == plan::BackendKind::automatic && backend::cuda::is_usable());
  return wants_cuda ? backend::cuda::make_cuda_backend(world, num_threads)
                    : backend::cpu::make_cpu_backend(world, num_threads);
}

std::string describe_backends() { return backend::cpu::library_versions(); }

}  // namespace tetrarch::engine
