/// Kernels of the router and of the experts. All enqueue on `stream` and return. Arguments are
/// those of compute.hpp, in device memory; the caller has checked their shapes. Bits are those of
/// the CPU kernels on a CPU with fused multiply-adds, except for the bits of a NaN.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "backend/compute.hpp"

namespace tetrarch::backend::cuda {

/// At most 1024 experts.
void softmax_top_k(cudaStream_t stream, const Tensor& logits, bool renormalise, float scale,
                   const Tensor& expert_id, const Tensor& gate_weight);

/// The bytes of working memory that group_by_expert() needs for `rows` rows or fewer.
std::int64_t grouping_bytes(std::int64_t rows, std::int64_t top_k, std::int64_t experts);
/// `workspace` is device memory of grouping_bytes(); it may be reused after the work is done. The
/// number of copies is not checked: with more than order.rows copies, the last ones are not written
/// to `order`.
void group_by_expert(cudaStream_t stream, const Tensor& expert_id, const Tensor& order,
                     const Tensor& position, const Tensor& count, void* workspace);

/// The index of a row must be one of `from`; the kernel does not check it.
void permute_rows(cudaStream_t stream, const Tensor& from, const Tensor& index, const Tensor& to);

/// out = round(round(act(gate)) * up). `up` may be absent; then out = round(act(gate)).
/// gate, up [rows, F]; out [slices][rows][F / slices]
void activation(cudaStream_t stream, const Tensor& gate, const Tensor& up, ActivationKind kind,
                const Tensor& out);

/// A position must be below rows.rows; the kernel does not check it.
void combine(cudaStream_t stream, const Tensor& rows, const Tensor& position,
             const Tensor& gate_weight, const Tensor& residual, const Tensor& out);

}  // namespace tetrarch::backend::cuda
