// Finds the k largest logits of each row.
//
// reads   logits [rows, columns] f32
// writes  top [rows, 2 * k] i32: k ids, then the bits of their logits
// launch  one block per row; thread i has the columns i, i + 512, ... and knows the first of them
//         that is not yet written. In each of k rounds the block finds the first of all, and the
//         thread that has it looks for its next one.
// ties    of equal logits the lower id comes first; NaN comes last
// bound   memory: 4 * columns bytes per row; besides, k reads of columns / 512 logits each from the
//         caches, one after another
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "backend/cuda/kernels/language.hpp"
#include "backend/cuda/kernels/vocabulary.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int threads = 512;
constexpr int warps = threads / warp_threads;

/// Where a logit stands in the order: of two logits the one with the larger rank comes first. 0 is
/// no logit.
using Rank = unsigned long long;
__device__ __forceinline__ Rank rank_of(float logit, std::int64_t column) {
  const unsigned bits = __float_as_uint(logit == 0 ? 0.0f : logit);  // -0 equals 0
  unsigned value = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  if (logit != logit) value = 1;  // below the value of -infinity
  return Rank{value} << 32 | (0xffffffffu - static_cast<unsigned>(column));
}
__device__ __forceinline__ std::int64_t column_of(Rank rank) {
  return 0xffffffffu - static_cast<unsigned>(rank);
}

/// The largest rank below `limit` of the columns of this thread; 0 if there is none.
__device__ __forceinline__ Rank next_below(Rank limit, const float* logits, std::int64_t columns) {
  Rank best = 0;
#pragma unroll 4
  for (std::int64_t c = threadIdx.x; c < columns; c += threads) {
    const Rank rank = rank_of(logits[c], c);
    if (rank < limit && rank > best) best = rank;
  }
  return best;
}

/// The largest rank of all threads. `of_warp` is shared memory of one rank per warp.
__device__ __forceinline__ Rank largest_of_block(Rank rank, Rank* of_warp) {
#pragma unroll
  for (int distance = warp_threads / 2; distance > 0; distance /= 2) {
    const Rank other = __shfl_xor_sync(all_lanes, rank, distance);
    if (other > rank) rank = other;
  }
  __syncthreads();  // all have read the ranks of the last round
  if (threadIdx.x % warp_threads == 0) of_warp[threadIdx.x / warp_threads] = rank;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < warps; ++w)
    if (of_warp[w] > rank) rank = of_warp[w];
  return rank;
}

__global__ void __launch_bounds__(threads)
    largest_logits_kernel(const float* all_logits, std::int32_t* top, std::int64_t rows,
                          std::int64_t columns, std::int64_t first_id, std::int64_t k) {
  SHARED(Rank, of_warp, warps);
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const float* logits = all_logits + row * columns;
    std::int32_t* id = top + row * 2 * k;
    std::int32_t* bits = id + k;
    Rank own = next_below(~Rank{0}, logits, columns);
    for (std::int64_t i = 0; i < k; ++i) {
      const Rank largest = largest_of_block(own, of_warp);
      if (largest == 0) {  // fewer than k columns
        if (threadIdx.x == 0) {
          id[i] = -1;
          bits[i] = __float_as_int(-INFINITY);
        }
      } else if (own == largest) {
        id[i] = static_cast<std::int32_t>(first_id + column_of(own));
        bits[i] = __float_as_int(logits[column_of(own)]);
        own = next_below(own, logits, columns);
      }
    }
  }
}

}  // namespace

void largest_logits(cudaStream_t stream, const Tensor& logits, std::int64_t first_id,
                    const Tensor& top) {
  start(stream, logits.rows, threads, 0, largest_logits_kernel, input<float>(logits),
        output<std::int32_t>(top), logits.rows, logits.columns, first_id, top.columns / 2);
}

}  // namespace tetrarch::backend::cuda
