// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include "emulated/kernels_under_test.hpp"

namespace tetrarch::emulated {
namespace {

constexpr unsigned all_lanes = 0xffffffffu;
constexpr int block_size = 128;

template <class... Parameters, class... Arguments>
cudaError_t start(cudaStream_t stream, dim3 grid, dim3 block, size_t shared_bytes,
                  void (*kernel)(Parameters...), Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

__global__ void __launch_bounds__(block_size)
    reverse_kernel(const float* __restrict__ in, float* __restrict__ out, Planted planted) {
  SHARED(float, values, block_size);
  const int t = threadIdx.x;
  const size_t i = size_t{blockIdx.x} * block_size + t;
  if (planted == Planted::early_return && t == 3) return;
  values[t] = in[i];
  if (planted == Planted::divergent_barrier && t < 7) {
    __syncthreads();
  } else if (planted != Planted::dropped_barrier) {
    __syncthreads();
  }
  out[i] = values[block_size - 1 - t];
}

__device__ float warp_sum(float value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2)
    value += __shfl_xor_sync(all_lanes, value, lanes);
  return value;
}

__global__ void __launch_bounds__(block_size)
    sum_rows_kernel(const float* __restrict__ in, float* __restrict__ out, int rows, int columns,
                    Planted planted) {
  constexpr int num_warps = block_size / 32;
  SHARED(float, partial, num_warps);
  for (int row = blockIdx.x; row < rows; row += gridDim.x) {
    float sum = 0;
    for (int c = threadIdx.x; c < columns; c += block_size)
      sum += in[static_cast<size_t>(row) * columns + c];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
      float total = 0;
      for (int warp = 0; warp < num_warps; ++warp)
        total += partial[warp];
      out[row] = total;
    }
    // Without it, a fast warp writes the next row's sum while thread 0 reads this row's.
    if (planted != Planted::dropped_barrier) __syncthreads();
  }
}

__global__ void swap_neighbours_kernel(const float* __restrict__ in, float* __restrict__ out,
                                       int count, Planted planted) {
  SHARED(float, values, block_size);
  const int t = threadIdx.x, i = blockIdx.x * block_size + t;
  if (planted == Planted::missing_lane && t == 5) return;
  values[t] = i < count ? in[i] : 0.0f;
  if (planted == Planted::foreign_lane) __any_sync(0xfffffffeu, 1);
  if (planted == Planted::endless_wait && t == 9) return;
  if (planted != Planted::dropped_warp_barrier) __syncwarp();
  if (i < count) out[i] = values[t ^ 1];
}

__global__ void fill_with_kernel(float* x, int count, float value) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) x[i] = value;
}

__global__ void scale_kernel(float* x, int count, float factor) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) x[i] *= factor;
}

__global__ void scale_bf16_kernel(const __nv_bfloat16* __restrict__ x,
                                  __nv_bfloat16* __restrict__ y, int count, float factor) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (8 * i >= count) return;
  uint4 packed = reinterpret_cast<const uint4*>(x)[i];
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(&packed);
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const float2 f = __bfloat1622float2(pairs[p]);
    pairs[p] = __floats2bfloat162_rn(f.x * factor, f.y * factor);
  }
  reinterpret_cast<uint4*>(y)[i] = packed;
}

__global__ void collectives_kernel(int* out) {
  const int lane = threadIdx.x;
  int* mine = out + 8 * lane;
  mine[0] = __shfl_sync(all_lanes, lane, 5);
  mine[1] = __shfl_sync(all_lanes, lane, 3, 8);
  mine[2] = __shfl_xor_sync(all_lanes, lane, 7);
  mine[3] = __shfl_down_sync(all_lanes, lane, 4);
  mine[4] = __shfl_up_sync(all_lanes, lane, 2, 16);
  mine[5] = static_cast<int>(__ballot_sync(all_lanes, lane % 3 == 0));
  mine[6] = __any_sync(all_lanes, lane == 31);
  mine[7] = __all_sync(all_lanes, lane < 31);
}

__global__ void count_kernel(int* sum, int* largest) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned number = block * blockDim.x * blockDim.y * blockDim.z + thread;
  atomicAdd(sum, static_cast<int>(number));
  atomicMax(largest, static_cast<int>(number));
}

__device__ void write_backward(float* out, float* values, int count) {
  for (int i = threadIdx.x; i < count; i += blockDim.x)
    values[count - 1 - i] = static_cast<float>(i);
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += blockDim.x)
    out[i] = values[i];
}

__global__ void fill_kernel(float* out, int count) {
  DYNAMIC_SHARED(float, values);
  write_backward(out, values, count);
}

__global__ void fill_large_kernel(float* out, int count) {
  DYNAMIC_SHARED(float, values);
  write_backward(out, values, count);
}

template <int count>
__global__ void reverse_and_add_kernel(float* x) {
  SHARED(float, values, count);
  SHARED(int, one, 1);
  static_assert(sizeof(values) == count * sizeof(float));
  const int t = threadIdx.x;
  values[t] = x[t];
  if (t == 0) one[0] = 1;
  __syncthreads();
  x[t] = values[blockDim.x - 1 - t] + one[0];
}

}  // namespace

cudaError_t reverse(cudaStream_t stream, const float* in, float* out, int num_blocks,
                    Planted planted) {
  return start(stream, num_blocks, block_size, 0, reverse_kernel, in, out, planted);
}

cudaError_t sum_rows(cudaStream_t stream, const float* in, float* out, int rows, int columns,
                     Planted planted) {
  return start(stream, (rows + 1) / 2, block_size, 0, sum_rows_kernel, in, out, rows, columns,
               planted);
}

cudaError_t swap_neighbours(cudaStream_t stream, const float* in, float* out, int count,
                            Planted planted) {
  return start(stream, (count + block_size - 1) / block_size, block_size, 0, swap_neighbours_kernel,
               in, out, count, planted);
}

cudaError_t fill(cudaStream_t stream, float* x, int count, float value) {
  return start(stream, (count + block_size - 1) / block_size, block_size, 0, fill_with_kernel, x,
               count, value);
}

cudaError_t scale(cudaStream_t stream, float* x, int count, float factor, Planted planted) {
  return start(stream, (count + block_size - 1) / block_size, block_size, 0, scale_kernel, x,
               planted == Planted::one_too_many ? count + 1 : count, factor);
}

cudaError_t scale_bf16(cudaStream_t stream, const __nv_bfloat16* x, __nv_bfloat16* y, int count,
                       float factor) {
  return start(stream, (count / 8 + 63) / 64, 64, 0, scale_bf16_kernel, x, y, count, factor);
}

cudaError_t try_collectives(cudaStream_t stream, int* out) {
  return start(stream, 1, 32, 0, collectives_kernel, out);
}

cudaError_t count_threads(cudaStream_t stream, dim3 grid, dim3 block, int* sum, int* largest) {
  return start(stream, grid, block, 0, count_kernel, sum, largest);
}

cudaError_t fill_dynamic(cudaStream_t stream, float* out, int count) {
  return start(stream, 1, 64, count * sizeof(float), fill_kernel, out, count);
}

cudaError_t fill_large_dynamic(cudaStream_t stream, float* out, int count) {
  const int bytes = static_cast<int>(count * sizeof(float));
  cudaFuncSetAttribute(fill_large_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  return start(stream, 1, 64, bytes, fill_large_kernel, out, count);
}

cudaError_t add_by_templates(cudaStream_t stream, float* x) {
  start(stream, 1, 64, 0, reverse_and_add_kernel<64>, x);
  return start(stream, 1, 64, 0, reverse_and_add_kernel<128>, x);
}

}  // namespace tetrarch::emulated
