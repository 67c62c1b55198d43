/// Small kernels with planted mistakes, to test the emulated device.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

namespace tetrarch::emulated {

enum class Planted {
  nothing,
  dropped_barrier,
  dropped_warp_barrier,
  divergent_barrier,
  early_return,
  missing_lane,  // a mask that names a lane which has returned
  foreign_lane,  // a lane that its own mask does not name
  endless_wait,  // a warp collective that one lane of the mask never calls
  one_too_many,  // a write behind the array
};

/// out[i] = in[127 - i] within each 128; through shared memory, with one barrier.
cudaError_t reverse(cudaStream_t stream, const float* in, float* out, int num_blocks,
                    Planted planted = Planted::nothing);
/// out[r] = sum of in[r, 0..columns): warps add by shuffles, the block in shared memory. Two rows
/// after each other use that memory, with a barrier between.
cudaError_t sum_rows(cudaStream_t stream, const float* in, float* out, int rows, int columns,
                     Planted planted = Planted::nothing);
/// out[i] = in[i ^ 1], by shared memory of a warp.
cudaError_t swap_neighbours(cudaStream_t stream, const float* in, float* out, int count,
                            Planted planted = Planted::nothing);
/// x[i] = value.
cudaError_t fill(cudaStream_t stream, float* x, int count, float value);
/// x[i] *= factor.
cudaError_t scale(cudaStream_t stream, float* x, int count, float factor,
                  Planted planted = Planted::nothing);
/// y[i] = bf16(x[i] * factor), 8 at a time by loads and stores of 16 bytes.
cudaError_t scale_bf16(cudaStream_t stream, const __nv_bfloat16* x, __nv_bfloat16* y, int count,
                       float factor);
/// out = for each of 32 lanes: what the 8 collectives of a warp return.
cudaError_t try_collectives(cudaStream_t stream, int* out);
/// Adds the number of each thread to *sum by atomicAdd, and sets *largest to the largest number.
cudaError_t count_threads(cudaStream_t stream, dim3 grid, dim3 block, int* sum, int* largest);
/// out[i] = the i-th float of a dynamic shared array of `count` floats that was written backward.
cudaError_t fill_dynamic(cudaStream_t stream, float* out, int count);
/// The same after cudaFuncSetAttribute.
cudaError_t fill_large_dynamic(cudaStream_t stream, float* out, int count);
/// Two instantiations of a template have shared memory of their own.
cudaError_t add_by_templates(cudaStream_t stream, float* x);

}  // namespace tetrarch::emulated
