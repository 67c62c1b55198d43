// The router's softmax over experts, and the choice of the top_k experts.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {
namespace {

using simd::lanes;

constexpr std::int64_t most_experts = 1024;
constexpr float infinity = std::numeric_limits<float>::infinity();

struct RouterArgs {
  Tensor logits, expert_id, gate_weight;
  bool renormalise;
  float scale;
};

/// Turns a row of logits into probabilities. The row is padded with -infinity to whole vectors.
template <int Width>
TETRARCH_INLINE void softmax_row(const float* logits, std::int64_t padded, float* probability) {
  auto most = simd::splat<Width>(-infinity);
  for (std::int64_t e = 0; e < padded; e += lanes)
    most = simd::max(most, simd::load<Width>(logits + e));
  const auto max = simd::splat<Width>(simd::max_of_lanes(most));
  auto sum = simd::splat<Width>(0);
  for (std::int64_t e = 0; e < padded; e += lanes) {
    const auto value = simd::exp(simd::load<Width>(logits + e) - max);
    simd::store(value, probability + e);
    sum = sum + value;
  }
  const auto total = simd::splat<Width>(simd::sum_of_lanes(sum));
  for (std::int64_t e = 0; e < padded; e += lanes)
    simd::store(simd::load<Width>(probability + e) / total, probability + e);
}

/// Chooses the k experts of the largest logits. It compares logits and not probabilities, because
/// rounding in exp() may reverse the order of logits that are nearly equal. Of equal logits the
/// lower id wins; NaN counts as -infinity.
TETRARCH_INLINE void choose_experts(const float* logits, std::int64_t experts, std::int64_t k,
                                    std::int32_t* chosen) {
  bool is_taken[most_experts] = {};
  for (std::int64_t slot = 0; slot < k; ++slot) {
    std::int64_t best = -1;
    float best_logit = -infinity;
    for (std::int64_t e = 0; e < experts; ++e) {
      if (is_taken[e]) continue;
      if (best < 0 || logits[e] > best_logit) {
        best = e;
        best_logit = logits[e] == logits[e] ? logits[e] : -infinity;
      }
    }
    is_taken[best] = true;
    chosen[slot] = static_cast<std::int32_t>(best);
  }
}

template <int Width>
TETRARCH_INLINE void route_range_body(const RouterArgs& args, std::int64_t begin,
                                      std::int64_t end) {
  const std::int64_t experts = args.logits.columns, k = args.expert_id.columns;
  const std::int64_t padded = (experts + lanes - 1) / lanes * lanes;
  float logits[most_experts], probability[most_experts];
  for (std::int64_t row = begin; row < end; ++row) {
    const float* from = static_cast<const float*>(args.logits.data) + row * experts;
    for (std::int64_t e = 0; e < padded; ++e)
      logits[e] = e < experts ? from[e] : -infinity;
    auto* chosen = static_cast<std::int32_t*>(args.expert_id.data) + row * k;
    float* weight = static_cast<float*>(args.gate_weight.data) + row * k;
    softmax_row<Width>(logits, padded, probability);
    choose_experts(logits, experts, k, chosen);
    float sum = 0;
    for (std::int64_t slot = 0; slot < k; ++slot)
      sum += probability[chosen[slot]];
    for (std::int64_t slot = 0; slot < k; ++slot) {
      const float chance = probability[chosen[slot]];
      weight[slot] = (args.renormalise ? chance / sum : chance) * args.scale;
    }
  }
}
TETRARCH_KERNEL(route_range, RouterArgs)

}  // namespace

void softmax_top_k(const Tensor& logits, bool renormalise, float scale, const Tensor& expert_id,
                   const Tensor& gate_weight) {
  base::expects(logits.columns <= most_experts, "at most 1024 experts");
  const RouterArgs args{logits, expert_id, gate_weight, renormalise, scale};
  for_ranges(logits.rows, logits.columns * (4 + expert_id.columns),
             [&](std::int64_t begin, std::int64_t end) { route_range(args, begin, end); });
}

}  // namespace tetrarch::backend::cpu
