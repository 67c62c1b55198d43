// Softmax over the experts, and the choice of the top_k experts of each row.
//
// reads   logits [rows, experts] f32
// writes  expert_id [rows, k] i32, gate_weight [rows, k] f32
// launch  16 threads per row; thread i has the experts i, i + 16, ...; at most 1024 experts
// sums    one chain per thread, then a tree over the 16: those of cpu/kernels/router.cpp
// ties    compares logits, not probabilities; of equal logits the lower id wins; NaN counts as
//         -infinity
// bound   memory: 4 * experts + 8 * k bytes per row; the logits are read k + 2 times, all but once
//         from the L1 cache
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "backend/cuda/kernels/experts.hpp"
#include "backend/cuda/kernels/language.hpp"

namespace tetrarch::backend::cuda {
namespace {

constexpr int threads = 128;
constexpr int rows_per_block = threads / cpu_lanes;
constexpr int most_experts = 1024;  // a thread marks its chosen ones of 64 in 64 bits

struct RouterArgs {
  const float* logits;
  std::int32_t* expert_id;
  float* gate_weight;
  std::int64_t rows;
  int experts, top_k;
  bool renormalise;
  float scale;
};

__device__ __forceinline__ float largest_of_lanes(float value) {
#pragma unroll
  for (int distance = cpu_lanes / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(all_lanes, value, distance);
    value = other > value ? other : value;
  }
  return value;
}

/// Returns, in all threads of the row, the expert of the largest logit that is not yet taken.
__device__ __forceinline__ int next_expert(const float* logits, int experts, int lane,
                                           std::uint64_t taken) {
  float best = -INFINITY;
  int best_id = most_experts;
  for (int e = lane, i = 0; e < experts; e += cpu_lanes, ++i) {
    if (taken >> i & 1) continue;
    const float logit = logits[e];
    if (best_id == most_experts || logit > best) {
      best = logit == logit ? logit : -INFINITY;
      best_id = e;
    }
  }
#pragma unroll
  for (int distance = cpu_lanes / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(all_lanes, best, distance);
    const int other_id = __shfl_xor_sync(all_lanes, best_id, distance);
    if (other > best || (other == best && other_id < best_id)) {
      best = other;
      best_id = other_id;
    }
  }
  return best_id;
}

__global__ void __launch_bounds__(threads) softmax_top_k_kernel(const RouterArgs args) {
  const int lane = threadIdx.x % cpu_lanes;
  for (std::int64_t first = std::int64_t{blockIdx.x} * rows_per_block; first < args.rows;
       first += std::int64_t{gridDim.x} * rows_per_block) {
    const std::int64_t row = first + threadIdx.x / cpu_lanes;
    // threads without a row only take part in the exchanges of their warp
    const int experts = row < args.rows ? args.experts : 0;
    const float* logits = args.logits + row * args.experts;

    float max = -INFINITY;
    for (int e = lane; e < experts; e += cpu_lanes)
      max = logits[e] > max ? logits[e] : max;
    max = largest_of_lanes(max);
    float sum = 0;
    for (int e = lane; e < experts; e += cpu_lanes)
      sum += exp_of(logits[e] - max);
    // the CPU fills the last vector with logits of -infinity
    if (experts % cpu_lanes != 0 && lane >= experts % cpu_lanes) sum += exp_of(-INFINITY - max);
    sum = sum_of_lanes<cpu_lanes>(sum);

    std::uint64_t taken = 0;
    float chosen_sum = 0;
    for (int slot = 0; slot < args.top_k; ++slot) {
      const int id = next_expert(logits, experts, lane, taken);
      if (row >= args.rows) continue;
      if (id % cpu_lanes == lane) taken |= std::uint64_t{1} << (id / cpu_lanes);
      if (lane != 0) continue;
      const float probability = exp_of(logits[id] - max) / sum;
      chosen_sum += probability;
      args.expert_id[row * args.top_k + slot] = id;
      args.gate_weight[row * args.top_k + slot] = probability;
    }
    if (row < args.rows && lane == 0)
      for (int slot = 0; slot < args.top_k; ++slot) {
        float* weight = args.gate_weight + row * args.top_k + slot;
        *weight = (args.renormalise ? *weight / chosen_sum : *weight) * args.scale;
      }
  }
}

}  // namespace

void softmax_top_k(cudaStream_t stream, const Tensor& logits, bool renormalise, float scale,
                   const Tensor& expert_id, const Tensor& gate_weight) {
  base::expects(logits.columns <= most_experts, "at most 1024 experts");
  const RouterArgs args{input<float>(logits),
                        output<std::int32_t>(expert_id),
                        output<float>(gate_weight),
                        logits.rows,
                        static_cast<int>(logits.columns),
                        static_cast<int>(expert_id.columns),
                        renormalise,
                        scale};
  start(stream, (logits.rows + rows_per_block - 1) / rows_per_block, threads, 0,
        softmax_top_k_kernel, args);
}

}  // namespace tetrarch::backend::cuda
