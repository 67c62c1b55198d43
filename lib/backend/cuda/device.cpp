// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device.hpp"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "backend/cuda/check.hpp"
#include "base/error.hpp"

namespace tetrarch::backend::cuda {
namespace {

std::string versions_text() {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  return fmt::format("driver {}.{}, runtime {}.{}", driver / 1000, driver % 1000 / 10,
                     runtime / 1000, runtime % 1000 / 10);
}

/// Why this process cannot use a GPU; "" if it can.
std::string problem_of(int& num_devices) {
  const cudaError_t status = cudaGetDeviceCount(&num_devices);
  if (status != cudaSuccess) return cudaGetErrorString(status);
  return num_devices == 0 ? "this machine has no GPU" : "";
}

}  // namespace

std::string use_device(const mpi::Communicator& world) {
  int num_devices = 0;
  const std::vector<std::string> problems = world.all_gather(problem_of(num_devices));
  for (std::size_t rank = 0; rank < problems.size(); ++rank)
    if (!problems[rank].empty())
      throw base::Refusal(
          base::ExitCode::usage,
          fmt::format("--backend cuda cannot be used (rank {}: {}; {}). Use --backend cpu.", rank,
                      problems[rank], versions_text()));
  const mpi::Communicator node = world.split_by_node();
  check(cudaSetDevice(node.rank() % num_devices), "cudaSetDevice");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, node.rank() % num_devices), "cudaGetDeviceProperties");
  return fmt::format("{} (compute capability {}.{}, {})", properties.name, properties.major,
                     properties.minor, versions_text());
}

}  // namespace tetrarch::backend::cuda
