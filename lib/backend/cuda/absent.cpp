// The build without CUDA compiles this file in place of device.cpp.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/backend.hpp"

namespace tetrarch::backend {

std::unique_ptr<Backend> make_cuda_backend(const mpi::Communicator&, int) {
  throw base::Refusal(base::ExitCode::usage,
                      "--backend cuda cannot be used (built without CUDA). Configure with "
                      "--preset gpu, or use --backend cpu.");
}

}  // namespace tetrarch::backend
