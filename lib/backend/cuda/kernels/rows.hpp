/// Kernels that work on each row alone. All enqueue on `stream` and return. Arguments are those of
/// compute.hpp, in device memory; the caller has checked their shapes. Bits are those of the CPU
/// kernels on a CPU with fused multiply-adds, except for the bits of a NaN.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "backend/tensor.hpp"

namespace tetrarch::backend::cuda {

void rms_norm(cudaStream_t stream, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& y);

/// Positions must have a cosine; the kernel does not check them.
void rope(cudaStream_t stream, const Tensor& x, std::int64_t head_size, const Tensor& position,
          const Tensor& cosine, const Tensor& sine);

void row_is_finite(cudaStream_t stream, const Tensor& x, const Tensor& flag);

}  // namespace tetrarch::backend::cuda
