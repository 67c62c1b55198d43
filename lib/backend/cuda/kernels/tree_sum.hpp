/// The sum of reduction shards, for Communicator::tree_reduce_scatter_v().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "backend/tensor.hpp"

namespace tetrarch::backend::cuda {

/// out[i] = round(residual[i] + tree sum of row index[i] of all slices), or of row i if `index` is
/// absent. 1, 2, 4 or 8 slices. `residual` may be absent. Enqueues on `stream` and returns. Bits
/// are those of the CPU kernel, except for the bits of a NaN. An index must be a row of the slices;
/// the kernel does not check it. slices [slices][rows][columns], index [out rows, 1] i32, residual
/// and out [out rows, columns]
void tree_sum(cudaStream_t stream, const Tensor& slices, const Tensor& index,
              const Tensor& residual, const Tensor& out);

}  // namespace tetrarch::backend::cuda
