// SPDX-License-Identifier: Apache-2.0
#include "engine/backends.hpp"

#include "backend/cpu/backend.hpp"
#include "backend/cuda/backend.hpp"

namespace tetrarch::engine {

std::unique_ptr<backend::Backend> make_backend(plan::BackendKind kind,
                                               const mpi::Communicator& world, int num_threads) {
  return kind == plan::BackendKind::cuda ? backend::make_cuda_backend(world, num_threads)
                                         : backend::make_cpu_backend(world, num_threads);
}

std::string describe_backends() {
  return "oneDNN " + backend::cpu::onednn_version();
}

}  // namespace tetrarch::engine
