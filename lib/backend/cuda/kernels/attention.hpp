/// Causal attention by an own kernel: it defines what other attention kernels must compute, and
/// works where there is none of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include <cuda_runtime_api.h>

#include "backend/compute.hpp"

namespace tetrarch::backend::cuda {

/// A segment as the kernel reads it, with the number of query tiles before it.
struct TiledSegment {
  Segment segment;
  std::int64_t first_tile = 0;
};

/// Fills `to`, one for each segment, and returns the number of all tiles.
std::int64_t tile_segments(const AttentionShape& shape, std::span<const Segment> segments,
                           std::span<TiledSegment> to);

/// Compute::attention(). Enqueues on `stream` and returns; the caller has checked the shapes.
/// `segments` are the `num_segments` of tile_segments() in device memory, `num_tiles` is its
/// result. Bits are those of the f32 kernel of the CPU (cpu/kernels/attention.cpp) on a CPU with
/// fused multiply-adds, except for the bits of a NaN. The bf16 results are those of the same
/// kernel: its products and probabilities are f32, only the results are rounded.
void attention(cudaStream_t stream, const AttentionShape& shape, const Tensor& query,
               const Tensor& key, const Tensor& value, const TiledSegment* segments,
               std::int64_t num_segments, std::int64_t num_tiles, const Tensor& out);

}  // namespace tetrarch::backend::cuda
