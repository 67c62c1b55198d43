// Statistics of logits over vocabulary slices.
//
// reads   logits [rows, columns] f32, target [rows] i32
// writes  stats [rows][slices][4] i32: the bits of the maximum, the bits of the sum of
//         exp(logit - maximum), the id of the maximum, the bits of the target's logit
// launch  16 threads per (row, slice); thread i has the columns i, i + 16, ... of the slice
// sums    one chain per thread, then a tree over the 16: those of cpu/kernels/vocabulary.cpp
// ties    the lowest id has the maximum; NaN is never the maximum
// bound   memory: 8 * columns bytes per row; the second read is from the caches where a slice fits
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "backend/cuda/kernels/language.hpp"
#include "backend/cuda/kernels/vocabulary.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int threads = 128;
constexpr int items_per_block = threads / cpu_lanes;
constexpr int most_slices = 64;

struct StatsArgs {
  const float* logits;
  const std::int32_t* target;
  std::int32_t* stats;
  std::int64_t rows, columns, first_id;
  int slices;
  std::int64_t begin[most_slices + 1];  // columns where the slices begin, and the end
};

__global__ void __launch_bounds__(threads) vocabulary_stats_kernel(const StatsArgs args) {
  const int lane = threadIdx.x % cpu_lanes;
  const std::int64_t items = args.rows * args.slices;
  for (std::int64_t first = std::int64_t{blockIdx.x} * items_per_block; first < items;
       first += std::int64_t{gridDim.x} * items_per_block) {
    const std::int64_t item = first + threadIdx.x / cpu_lanes;
    const std::int64_t row = item / args.slices;
    const int slice = static_cast<int>(item % args.slices);
    const std::int64_t begin = args.begin[slice];
    // threads without an item only take part in the exchanges of their warp
    const std::int64_t size = item < items ? args.begin[slice + 1] - begin : 0;
    const float* logits = args.logits + row * args.columns + begin;

    float max = -INFINITY;
    int best = 0;  // stays 0 if no logit is above -infinity
#pragma unroll 4
    for (std::int64_t c = lane; c < size; c += cpu_lanes) {
      const float logit = logits[c];
      if (logit > max) {
        max = logit;
        best = static_cast<int>(c);
      }
    }
#pragma unroll
    for (int distance = cpu_lanes / 2; distance > 0; distance /= 2) {
      const float other = __shfl_xor_sync(all_lanes, max, distance);
      const int other_best = __shfl_xor_sync(all_lanes, best, distance);
      if (other > max || (other == max && other_best < best)) {
        max = other;
        best = other_best;
      }
    }

    float sum = 0;
#pragma unroll 4
    for (std::int64_t c = lane; c < size; c += cpu_lanes)
      sum = exp_plus(logits[c] - max, sum);
    // the CPU fills the last vector with logits of -infinity
    if (size % cpu_lanes != 0 && lane >= size % cpu_lanes) sum = exp_plus(-INFINITY - max, sum);
    sum = sum_of_lanes<cpu_lanes>(sum);

    if (item >= items || lane != 0) continue;
    const std::int64_t id = args.first_id + begin;
    const std::int64_t at = args.target[row] - id;  // of the target in this slice
    std::int32_t* stats = args.stats + item * 4;
    stats[0] = __float_as_int(max);
    stats[1] = __float_as_int(sum);
    stats[2] = static_cast<std::int32_t>(id + best);
    stats[3] = at >= 0 && at < size ? __float_as_int(logits[at]) : 0;
  }
}

}  // namespace

void vocabulary_stats(cudaStream_t stream, const Tensor& logits,
                      std::span<const std::int64_t> slice_size, std::int64_t first_id,
                      const Tensor& target, const Tensor& stats) {
  base::expects(slice_size.size() <= most_slices, "at most 64 vocabulary slices");
  StatsArgs args{input<float>(logits),
                 input<std::int32_t>(target),
                 output<std::int32_t>(stats),
                 logits.rows,
                 logits.columns,
                 first_id,
                 static_cast<int>(slice_size.size()),
                 {}};
  for (std::size_t slice = 0; slice < slice_size.size(); ++slice)
    args.begin[slice + 1] = args.begin[slice] + slice_size[slice];
  const std::int64_t items = args.rows * args.slices;
  start(stream, (items + items_per_block - 1) / items_per_block, threads, 0,
        vocabulary_stats_kernel, args);
}

}  // namespace tetrarch::backend::cuda
