/// What a .cu file sees when g++ compiles it for the emulated device (`-x c++ -include
/// device.hpp`).
///
/// The words of CUDA C++ become C++ here; builtins.hpp and arithmetic.hpp have its functions. The
/// file must keep to what both compilers understand:
/// - shared memory by SHARED(type, name, count) and DYNAMIC_SHARED(type, name), never by
/// __shared__;
/// - kernels started by cudaLaunchKernelEx, never by <<< >>>;
/// - no PTX, no cooperative groups, no libraries of device code.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "emulated/arithmetic.hpp"
#include "emulated/builtins.hpp"
#include "emulated/kernel.hpp"
#include "emulated/shared_memory.hpp"

#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __shared__
#undef __launch_bounds__
#undef __forceinline__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static_assert(false, "write SHARED(type, name, count)");
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __grid_constant__

/// `type name[count]` in the block's shared memory. The address of a static variable of the lambda
/// is different for each declaration, and for each instantiation of a template.
#define SHARED(type, name, count)                                                        \
  type(&name)[count] = *static_cast<type(*)[count]>(::tetrarch::emulated::static_shared( \
      []() -> const void* {                                                              \
        static const char key = 0;                                                       \
        return &key;                                                                     \
      }(),                                                                               \
      sizeof(type) * (count), alignof(type)))

/// `type* name`: the launch's dynamic shared memory.
#define DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(::tetrarch::emulated::dynamic_shared())

namespace tetrarch::emulated {

/// Copies the arguments, as the driver does at the launch, and enqueues the kernel.
template <class... Parameters, class... Arguments>
cudaError_t launch(const Place& place, const cudaLaunchConfig_t* config,
                   void (*kernel)(Parameters...), Arguments&&... arguments) {
  std::tuple<std::decay_t<Parameters>...> values(std::forward<Arguments>(arguments)...);
  return enqueue_kernel(*config, {place, reinterpret_cast<const void*>(kernel),
                                  [kernel, values] { std::apply(kernel, values); }});
}

}  // namespace tetrarch::emulated

/// cuda_runtime.h has this one for nvcc alone.
template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute,
                                 int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

#define cudaLaunchKernelEx(...) \
  ::tetrarch::emulated::launch(::tetrarch::emulated::Place::current(), __VA_ARGS__)
