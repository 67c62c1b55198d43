/// Kernels on logits. All enqueue on `stream` and return. Arguments are those of compute.hpp; the
/// tensors are in device memory, and the caller has checked their shapes. Bits are those of the CPU
/// kernels on a CPU with fused multiply-adds, except for the bits of a NaN.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include <cuda_runtime_api.h>

#include "backend/tensor.hpp"

namespace tetrarch::backend::cuda {

/// At most 64 slices; their sizes are host memory, which may be reused after the call.
void vocabulary_stats(cudaStream_t stream, const Tensor& logits,
                      std::span<const std::int64_t> slice_size, std::int64_t first_id,
                      const Tensor& target, const Tensor& stats);

void largest_logits(cudaStream_t stream, const Tensor& logits, std::int64_t first_id,
                    const Tensor& top);

}  // namespace tetrarch::backend::cuda
