// Asks the CUDA runtime for its devices.
// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "backend/cuda/backend.hpp"

namespace tetrarch::backend {
namespace {

/// The devices as text, for example "2 devices, the first NVIDIA H100 (compute capability 9.0);
/// driver 12.4, runtime 12.4".
std::string devices_text() {
  int driver = 0, runtime = 0, devices = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const cudaError_t status = cudaGetDeviceCount(&devices);
  const auto versions = fmt::format("driver {}.{}, runtime {}.{}", driver / 1000,
                                    driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  if (status != cudaSuccess)
    return fmt::format("no device: {}; {}", cudaGetErrorString(status), versions);
  cudaDeviceProp first{};
  if (devices == 0 || cudaGetDeviceProperties(&first, 0) != cudaSuccess)
    return fmt::format("{} devices; {}", devices, versions);
  return fmt::format("{} devices, the first {} (compute capability {}.{}); {}", devices, first.name,
                     first.major, first.minor, versions);
}

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const mpi::Communicator&, int) {
  throw base::Refusal(
      base::ExitCode::usage,
      fmt::format(
          "--backend cuda cannot be used (this version does not compute on GPUs; found {}). Use "
          "--backend cpu.",
          devices_text()));
}

}  // namespace tetrarch::backend
