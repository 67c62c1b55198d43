/// Starts kernels on the emulated device.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include <cuda_runtime_api.h>

#include "emulated/fault.hpp"

namespace tetrarch::emulated {

struct Kernel {
  Place place;                   // of the call of cudaLaunchKernelEx
  const void* function;          // its address, as cudaFuncSetAttribute knows it
  std::function<void()> thread;  // the body with its arguments
};

/// Checks the limits of a launch, and puts the kernel into the queue of the launch's stream.
cudaError_t enqueue_kernel(const cudaLaunchConfig_t& config, const Kernel& kernel);
/// What cudaFuncSetAttribute does for cudaFuncAttributeMaxDynamicSharedMemorySize.
void allow_dynamic_shared(const void* function, std::size_t bytes);

}  // namespace tetrarch::emulated
