/// Starts kernels on the emulated device.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include <cuda_runtime_api.h>

namespace tetrarch::emulated {

struct Kernel {
  std::string name;              // as the caller of cudaLaunchKernelEx wrote it, with file and line
  const void* function;          // its address, as cudaFuncSetAttribute knows it
  std::function<void()> thread;  // the body with its arguments
};

/// Checks the limits of a launch, and puts the kernel into the queue of the launch's stream.
cudaError_t enqueue_kernel(const cudaLaunchConfig_t& config, Kernel kernel);
/// What cudaFuncSetAttribute does for cudaFuncAttributeMaxDynamicSharedMemorySize.
void allow_dynamic_shared(const void* function, std::size_t bytes);

}  // namespace tetrarch::emulated
