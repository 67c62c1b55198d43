// Everything that can be known before the first weight is read.
// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace tetrarch::plan {

using base::ExitCode;

namespace {

/// Of the rank that needs most: EP ranks hold equally much, tp ranks nearly.
MemoryPlan largest_memory(const ModelSpec& spec, std::int64_t reduction_shards, const Grid& grid,
                          const Extents& extents) {
  MemoryPlan largest;
  for (int tp_rank = 0; tp_rank < grid.tp; ++tp_rank) {
    MemoryPlan memory = plan_memory(spec, reduction_shards, grid, {0, 0, 0, tp_rank}, extents);
    if (tp_rank == 0 || memory.total_bytes() > largest.total_bytes()) largest = std::move(memory);
  }
  return largest;
}

/// What would make the plan fit, in words.
std::string remedy(const Plan& plan, const RunConfig& config,
                   std::span<const SequenceLength> lengths, std::int64_t limit_bytes) {
  if (plan.memory.weight_bytes >= limit_bytes)
    return "The weights alone do not fit: start more ranks";
  for (std::int64_t tokens = config.tokens_per_microbatch / 2; tokens >= 1; tokens /= 2) {
    const std::vector<Microbatch> microbatches = make_microbatches(lengths, tokens);
    const Extents extents = extents_of(microbatches, plan.model, plan.grid);
    const MemoryPlan memory = largest_memory(plan.model, plan.reduction_shards, plan.grid, extents);
    if (memory.total_bytes() <= limit_bytes)
      return fmt::format("Use --tokens-per-microbatch {}, or start more ranks", tokens);
  }
  return fmt::format(
      "The longest sequence ({} tokens) does not fit at any "
      "--tokens-per-microbatch: start more ranks, with a larger --tp",
      plan.extents.max_sequence_length);
}

void check_fit(const Plan& plan, const RunConfig& config, std::span<const SequenceLength> lengths,
               std::int64_t limit_bytes) {
  const std::int64_t needed = plan.memory.total_bytes();
  if (limit_bytes == 0 || needed <= limit_bytes) return;
  throw base::UsageError(
      ExitCode::resources,
      fmt::format("{} needs {} per rank (weights {}, workspace {}), {} bytes more than the {} that "
                  "a rank may use. {}.",
                  to_string(plan.grid), base::bytes_text(needed),
                  base::bytes_text(plan.memory.weight_bytes),
                  base::bytes_text(plan.memory.workspace_bytes()), needed - limit_bytes,
                  base::bytes_text(limit_bytes), remedy(plan, config, lengths, limit_bytes)));
}

/// Pairs of a query and a key that it sees, in one layer; window 0: all up to itself.
double visible_pairs(double length, double window) {
  if (window == 0 || length <= window) return length * (length + 1) / 2;
  return window * (window + 1) / 2 + (length - window) * window;
}

}  // namespace

Plan make_plan(const RunConfig& config, const ModelSpec& spec, std::int64_t reduction_shards,
               std::span<const SequenceLength> lengths, int num_ranks,
               std::int64_t memory_limit_bytes) {
  if (config.tokens_per_microbatch < 1)
    throw base::UsageError(ExitCode::usage,
                           fmt::format("--tokens-per-microbatch {} is not a positive number. Use 1 "
                                       "or more.",
                                       config.tokens_per_microbatch));
  check_reduction_shards(spec, reduction_shards, ExitCode::weights);

  Plan plan;
  plan.model = spec;
  plan.reduction_shards = reduction_shards;
  plan.outputs = resolve_outputs(config, spec);
  plan.microbatches = make_microbatches(lengths, config.tokens_per_microbatch);
  const auto rank_bytes = [&](const Grid& grid) {
    const Extents extents = extents_of(plan.microbatches, spec, grid);
    return largest_memory(spec, reduction_shards, grid, extents).total_bytes();
  };
  ChosenGrid chosen =
      choose_grid(spec, reduction_shards, num_ranks, config.grid, memory_limit_bytes, rank_bytes);
  plan.grid = chosen.grid;
  plan.grid_reason = std::move(chosen.reason);
  plan.extents = extents_of(plan.microbatches, spec, plan.grid);
  plan.memory = largest_memory(spec, reduction_shards, plan.grid, plan.extents);
  check_fit(plan, config, lengths, memory_limit_bytes);
  return plan;
}

double sequence_flops(const ModelSpec& spec, std::int64_t length, std::int64_t head_positions) {
  const auto hidden = static_cast<double>(spec.hidden_size);
  const auto query_rows = static_cast<double>(spec.num_heads * spec.head_size);
  const auto kv_rows = static_cast<double>(spec.num_kv_heads * spec.head_size);
  const double matrices = spec.expert_kind == ExpertKind::glu ? 3 : 2;
  const double parameters_of_token =
      2 * (query_rows + kv_rows) * hidden + static_cast<double>(spec.num_experts) * hidden +
      matrices * static_cast<double>(spec.top_k * spec.expert_ffn) * hidden;
  const auto tokens = static_cast<double>(length);

  double flops = 0;
  for (const std::int64_t window : spec.window)
    flops += 2 * parameters_of_token * tokens +
             4 * query_rows * visible_pairs(tokens, static_cast<double>(window));
  return flops +
         2 * hidden * static_cast<double>(spec.vocab_size) * static_cast<double>(head_positions);
}

}  // namespace tetrarch::plan
