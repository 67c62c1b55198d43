/// What all kernels share: shared memory, the start of a kernel, and elements of f32 and bf16.
/// The kernels are written in the part of CUDA that the emulated device has: they are started by
/// start() only, declare shared memory by SHARED and DYNAMIC_SHARED only, and contain no PTX.
/// Where a multiplication and an addition are fused, fmaf() says so; the compiler must fuse nothing
/// itself (nvcc: -fmad=false, g++: -ffp-contract=off). Divisions and square roots are exact.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "backend/tensor.hpp"

#ifdef __CUDACC__
/// Shared memory of a block, an array of `count` elements.
#define SHARED(type, name, count) __shared__ type name[count]
/// Shared memory whose size is given at the start of the kernel.
#define DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(16) unsigned char name##_in_bytes[]; \
  type* const name = reinterpret_cast<type*>(name##_in_bytes)
#endif

namespace tetrarch::backend::cuda {

using bf16 = __nv_bfloat16;

constexpr unsigned all_lanes = 0xffffffffu;  // the mask of a whole warp
constexpr int warp_threads = 32;
/// The CPU kernels sum in vectors of this number of lanes. Kernels that keep their order of sums
/// have one chain of additions per lane.
constexpr int cpu_lanes = 16;
/// A kernel is started with at most this number of blocks; each block does every gridDim.x-th item.
constexpr std::int64_t most_blocks = 1 << 16;

/// Enqueues a kernel for `items` items, one per block. Without items nothing is enqueued.
template <class... Parameters, class... Arguments>
void start(cudaStream_t stream, std::int64_t items, int threads, std::int64_t shared_bytes,
           void (*kernel)(Parameters...), const Arguments&... arguments) {
  if (items <= 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(std::min(items, most_blocks)));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = stream;
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, arguments...);
  if (status != cudaSuccess)
    throw base::SystemError(base::ExitCode::internal,
                            std::string("cudaLaunchKernelEx: ") + cudaGetErrorString(status));
}

/// Calls call.operator()<T, N>() with the element type of `dtype` and with N elements per access:
/// 16 bytes, or `otherwise` elements one by one.
template <int otherwise = 1, class Call>
void with_elements(base::DType dtype, bool is_in_vectors, const Call& call) {
  if (dtype == base::DType::f32 && is_in_vectors)
    call.template operator()<float, 4>();
  else if (dtype == base::DType::f32)
    call.template operator()<float, otherwise>();
  else if (is_in_vectors)
    call.template operator()<bf16, 8>();
  else
    call.template operator()<bf16, otherwise>();
}

/// True if rows of `columns` elements can be read and written in vectors of 16 bytes: in all
/// tensors, every row begins at a multiple of 16 bytes. Absent tensors count as such.
template <class... Tensors>
bool has_vector_rows(std::int64_t columns, const Tensors&... tensors) {
  return ((columns * base::size_of(tensors.dtype) % 16 == 0 &&
           reinterpret_cast<std::uintptr_t>(tensors.data) % 16 == 0) &&
          ...);
}

template <class T>
const T* input(const Tensor& tensor) {
  return static_cast<const T*>(tensor.data);
}
template <class T>
T* output(const Tensor& tensor) {
  return static_cast<T*>(tensor.data);
}

__device__ __forceinline__ float to_float(float value) {
  return value;
}
__device__ __forceinline__ float to_float(bf16 value) {
  return __bfloat162float(value);
}
__device__ __forceinline__ void put(float value, float* to) {
  *to = value;
}
/// Rounds to nearest, ties to even.
__device__ __forceinline__ void put(float value, bf16* to) {
  *to = __float2bfloat16_rn(value);
}
/// The value that a store to T and a load give.
template <class T>
__device__ __forceinline__ float rounded_to(float value) {
  T stored;
  put(value, &stored);
  return to_float(stored);
}

/// Loads N elements: by one access of 16 bytes if they have that size, else one by one.
template <class T, int N>
__device__ __forceinline__ void load(const T* from, float (&to)[N]) {
  if constexpr (sizeof(T) == 2 && N == 8) {
    const uint4 packed = *reinterpret_cast<const uint4*>(from);
    const unsigned pair[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      to[2 * i] = __uint_as_float(pair[i] << 16);
      to[2 * i + 1] = __uint_as_float(pair[i] & 0xffff0000u);
    }
  } else if constexpr (sizeof(T) == 4 && N == 4) {
    const float4 packed = *reinterpret_cast<const float4*>(from);
    to[0] = packed.x, to[1] = packed.y, to[2] = packed.z, to[3] = packed.w;
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      to[i] = to_float(from[i]);
  }
}

__device__ __forceinline__ unsigned pair_of(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return static_cast<unsigned>(__bfloat16_as_ushort(pair.x)) |
         static_cast<unsigned>(__bfloat16_as_ushort(pair.y)) << 16;
}

/// Rounds and stores N elements, as load() reads them.
template <class T, int N>
__device__ __forceinline__ void store(const float (&from)[N], T* to) {
  if constexpr (sizeof(T) == 2 && N == 8) {
    *reinterpret_cast<uint4*>(to) =
        make_uint4(pair_of(from[0], from[1]), pair_of(from[2], from[3]), pair_of(from[4], from[5]),
                   pair_of(from[6], from[7]));
  } else if constexpr (sizeof(T) == 4 && N == 4) {
    *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      put(from[i], to + i);
  }
}

/// Two factors whose product is e^x, with an error below 2 ulp: the exponential of the CPU kernels
/// (cpu/kernels/simd.hpp), bit for bit. e^-infinity is 0, e^0 is 1, NaN stays NaN.
struct Exponential {
  float first, second;
};
__device__ __forceinline__ Exponential exp_factors(float x) {
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = fmaf(x, 1.44269504088896341f, magic);
  const float n = shifted - magic;
  float r = fmaf(n, -0.693359375f, x);
  r = fmaf(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = fmaf(p, r, 1.3981999507e-3f);
  p = fmaf(p, r, 8.3334519073e-3f);
  p = fmaf(p, r, 4.1665795894e-2f);
  p = fmaf(p, r, 1.6666665459e-1f);
  p = fmaf(p, r, 5.0000001201e-1f);
  p = fmaf(p, r * r, r) + 1.0f;
  const int exponent = static_cast<int>(__float_as_uint(shifted) - 0x4b400000u);
  // scales by two factors, so that denormal results round only once
  const int half = exponent >> 1;
  return {p * __uint_as_float(static_cast<unsigned>(half + 127) << 23),
          __uint_as_float(static_cast<unsigned>(exponent - half + 127) << 23)};
}
__device__ __forceinline__ float exp_of(float x) {
  const Exponential e = exp_factors(x);
  return e.first * e.second;
}
/// e^x + y, rounded once, as the compiler of the CPU kernels fuses it.
__device__ __forceinline__ float exp_plus(float x, float y) {
  const Exponential e = exp_factors(x);
  return fmaf(e.first, e.second, y);
}

/// Sums over `count` neighbouring lanes, a power of two, by the tree of the CPU kernels: each with
/// the lane count / 2 away, then count / 4, ... All lanes of the warp must call it.
template <int count>
__device__ __forceinline__ float sum_of_lanes(float value) {
#pragma unroll
  for (int distance = count / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(all_lanes, value, distance);
  return value;
}

}  // namespace tetrarch::backend::cuda
