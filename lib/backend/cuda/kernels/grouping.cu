// Sorts the copies of all rows by (expert, top-k slot, row): a stable counting sort.
//
// reads   expert_id [rows, k] i32; -1 is no copy
// writes  order [copies] i32, position [rows, k] i32, count [experts] i32
// memory  before [experts][k][parts] i32, where a part is 512 rows: first the number of copies of
//         (expert, slot) in the part, then the index of the first of them in `order`
// launch  1. one warp per (part, slot) counts the copies of each expert
//         2. one warp per expert adds its counts to count[expert]
//         3. one block per expert turns its counts into indices
//         4. one warp per (part, slot) gives each copy its index, 32 rows at a time; the lanes with
//            the same expert find each other by ballots, one for each bit of the expert's id
// bound   latency: four short kernels. Memory: 16 * k bytes per row, and 16 * experts * k bytes per
//         part
// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/experts.hpp"
#include "backend/cuda/kernels/language.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr std::int64_t part_rows = 512;
constexpr int scan_threads = 256;
constexpr std::int64_t most_experts = 12288;  // a counter of each in 48 KiB of shared memory

struct GroupingArgs {
  const std::int32_t* expert_id;
  std::int32_t* order;
  std::int32_t* position;
  std::int32_t* count;
  std::int32_t* before;
  std::int64_t rows, order_rows, parts;
  int top_k, experts;
};

/// The rows and the slot of an item, which is a (part, slot).
struct Item {
  std::int64_t part, begin, end;
  int slot;
};
__device__ __forceinline__ Item item_of(const GroupingArgs& args, std::int64_t index) {
  const std::int64_t part = index / args.top_k, begin = part * part_rows;
  const std::int64_t end = begin + part_rows < args.rows ? begin + part_rows : args.rows;
  return {part, begin, end, static_cast<int>(index % args.top_k)};
}
__device__ __forceinline__ std::int32_t* before(const GroupingArgs& args, const Item& item, int e) {
  return args.before + (std::int64_t{e} * args.top_k + item.slot) * args.parts + item.part;
}

__device__ __forceinline__ bool is_copy(const GroupingArgs& args, std::int32_t expert) {
  return expert >= 0 && expert < args.experts;
}

/// The lanes of the warp whose id is the same as this lane's, as a mask.
__device__ __forceinline__ unsigned lanes_with(std::int32_t id, int experts) {
  unsigned same = __ballot_sync(all_lanes, id >= 0) ^ (id >= 0 ? 0u : all_lanes);
  for (int bit = 1; bit < experts; bit *= 2) {
    const unsigned votes = __ballot_sync(all_lanes, (id & bit) != 0);
    same &= (id & bit) != 0 ? votes : ~votes;
  }
  return same;
}

__global__ void __launch_bounds__(warp_threads) count_part_kernel(const GroupingArgs args) {
  DYNAMIC_SHARED(std::int32_t, counter);  // [experts]
  const int lane = threadIdx.x;
  for (std::int64_t index = blockIdx.x; index < args.parts * args.top_k; index += gridDim.x) {
    const Item item = item_of(args, index);
    for (int e = lane; e < args.experts; e += warp_threads)
      counter[e] = 0;
    __syncwarp();
    for (std::int64_t row = item.begin + lane; row < item.end; row += warp_threads) {
      const std::int32_t expert = args.expert_id[row * args.top_k + item.slot];
      if (is_copy(args, expert)) atomicAdd(counter + expert, 1);
    }
    __syncwarp();
    for (int e = lane; e < args.experts; e += warp_threads)
      *before(args, item, e) = counter[e];
    __syncwarp();
  }
}

__global__ void __launch_bounds__(warp_threads) count_expert_kernel(const GroupingArgs args) {
  const std::int64_t entries = args.top_k * args.parts;
  for (int e = blockIdx.x; e < args.experts; e += gridDim.x) {
    int sum = 0;
    for (std::int64_t i = threadIdx.x; i < entries; i += warp_threads)
      sum += args.before[e * entries + i];
#pragma unroll
    for (int distance = warp_threads / 2; distance > 0; distance /= 2)
      sum += __shfl_xor_sync(all_lanes, sum, distance);
    if (threadIdx.x == 0) args.count[e] = sum;
  }
}

/// The sum of `value` over this thread and the threads before it; the last one has the sum of all.
/// `of_warp` is shared memory of one i32 per warp.
__device__ __forceinline__ int sum_up_to(int value, std::int32_t* of_warp) {
  const int lane = threadIdx.x % warp_threads, warp = threadIdx.x / warp_threads;
#pragma unroll
  for (int distance = 1; distance < warp_threads; distance *= 2) {
    const int other = __shfl_up_sync(all_lanes, value, distance);
    if (lane >= distance) value += other;
  }
  if (lane == warp_threads - 1) of_warp[warp] = value;
  __syncthreads();
  for (int w = 0; w < warp; ++w)
    value += of_warp[w];
  return value;
}

__global__ void __launch_bounds__(scan_threads) index_expert_kernel(const GroupingArgs args) {
  SHARED(std::int32_t, of_warp, scan_threads / warp_threads);
  SHARED(std::int32_t, end_of_last, 1);  // the index where the entries done so far end
  const std::int64_t entries = args.top_k * args.parts;
  const int last = scan_threads - 1;
  for (int e = blockIdx.x; e < args.experts; e += gridDim.x) {
    int earlier = 0;  // copies of the experts before e
    for (int other = threadIdx.x; other < e; other += scan_threads)
      earlier += args.count[other];
    earlier = sum_up_to(earlier, of_warp);
    if (threadIdx.x == last) *end_of_last = earlier;
    __syncthreads();
    for (std::int64_t first = 0; first < entries; first += scan_threads) {
      const std::int64_t i = first + threadIdx.x;
      const int start_of_tile = *end_of_last;
      std::int32_t* entry = args.before + e * entries + i;
      const int own = i < entries ? *entry : 0;
      const int end = start_of_tile + sum_up_to(own, of_warp);
      if (i < entries) *entry = end - own;
      __syncthreads();
      if (threadIdx.x == last) *end_of_last = end;
      __syncthreads();
    }
  }
}

__global__ void __launch_bounds__(warp_threads) place_copies_kernel(const GroupingArgs args) {
  DYNAMIC_SHARED(std::int32_t, next);  // [experts]: the index of the next copy
  const int lane = threadIdx.x;
  for (std::int64_t index = blockIdx.x; index < args.parts * args.top_k; index += gridDim.x) {
    const Item item = item_of(args, index);
    for (int e = lane; e < args.experts; e += warp_threads)
      next[e] = *before(args, item, e);
    __syncwarp();
    for (std::int64_t first = item.begin; first < item.end; first += warp_threads) {
      const std::int64_t row = first + lane;
      const bool is_row = row < item.end;
      std::int32_t expert = is_row ? args.expert_id[row * args.top_k + item.slot] : -1;
      if (!is_copy(args, expert)) expert = -1;
      const unsigned same = lanes_with(expert, args.experts);
      const int rank = __popc(same & ((1u << lane) - 1));
      const std::int32_t at = expert < 0 ? -1 : next[expert] + rank;
      __syncwarp();
      if (expert >= 0 && rank == 0) next[expert] += __popc(same);
      __syncwarp();
      if (is_row) args.position[row * args.top_k + item.slot] = at;
      if (at >= 0 && at < args.order_rows) args.order[at] = static_cast<std::int32_t>(row);
    }
  }
}

std::int64_t num_parts(std::int64_t rows) {
  return (rows + part_rows - 1) / part_rows;
}

}  // namespace

std::int64_t grouping_bytes(std::int64_t rows, std::int64_t top_k, std::int64_t experts) {
  return num_parts(rows) * top_k * experts * std::int64_t{sizeof(std::int32_t)};
}

void group_by_expert(cudaStream_t stream, const Tensor& expert_id, const Tensor& order,
                     const Tensor& position, const Tensor& count, void* workspace) {
  base::expects(count.columns <= most_experts, "at most 12288 experts");
  const GroupingArgs args{input<std::int32_t>(expert_id),
                          output<std::int32_t>(order),
                          output<std::int32_t>(position),
                          output<std::int32_t>(count),
                          static_cast<std::int32_t*>(workspace),
                          expert_id.rows,
                          order.rows,
                          num_parts(expert_id.rows),
                          static_cast<int>(expert_id.columns),
                          static_cast<int>(count.columns)};
  const std::int64_t items = args.parts * args.top_k;
  const std::int64_t counters = count.columns * std::int64_t{sizeof(std::int32_t)};
  start(stream, items, warp_threads, counters, count_part_kernel, args);
  start(stream, count.columns, warp_threads, 0, count_expert_kernel, args);
  start(stream, items > 0 ? count.columns : 0, scan_threads, 0, index_expert_kernel, args);
  start(stream, items, warp_threads, counters, place_copies_kernel, args);
}

}  // namespace tetrarch::backend::cuda
