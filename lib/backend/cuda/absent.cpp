// The build without CUDA compiles this file in place of device.cpp.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/backend.hpp"

namespace tetrarch::backend {

std::unique_ptr<Backend> make_cuda_backend(const mpi::Communicator&, int) {
  throw base::Refusal(base::ExitCode::usage,
                      "--backend cuda cannot be used (built without CUDA; this version "
                      "does not compute on GPUs). Use --backend cpu.");
}

}  // namespace tetrarch::backend
