// Makes the plan of a run before any weight is read.
// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "plan/remedy.hpp"

namespace tetrarch::plan {

using base::ExitCode;

namespace {

constexpr std::int64_t never = std::int64_t{1} << 40;  // chunk size above every sequence length

/// The memory of the rank that needs most. Only ranks with dp = 0 and ep = 0 are compared, because
/// the others need no more: rank 0 has work of its own, and EP ranks need the same otherwise.
MemoryPlan largest_memory(const RunConfig& config, const Plan& plan, const Grid& grid,
                          const Extents& extents) {
  const MemoryRequest request = memory_request(config, plan, extents);
  MemoryPlan largest;
  for (int pp_rank = 0; pp_rank < grid.pp; ++pp_rank)
    for (int tp_rank = 0; tp_rank < grid.tp; ++tp_rank) {
      MemoryPlan memory =
          plan_memory(plan.model, plan.reduction_shards, grid, {0, pp_rank, 0, tp_rank}, request);
      if (memory.needed_bytes() > largest.needed_bytes()) largest = std::move(memory);
    }
  return largest;
}

/// Computes the bytes that the same sequences need with changed choices.
class Needs {
 public:
  Needs(const Plan& plan, const RunConfig& config, std::span<const SequenceLength> lengths)
      : plan_(plan), config_(config), lengths_(lengths) {}

  std::int64_t operator()(const Choice& choice) {
    Plan changed;
    changed.model = plan_.model;
    changed.reduction_shards = plan_.reduction_shards;
    changed.packed_bytes = plan_.packed_bytes;
    changed.files = plan_.files;
    changed.outputs = choice.outputs;
    changed.depth = depth_of(choice.outputs, plan_.model.num_layers, config_.capacity_factor);
    return largest_memory(config_, changed, choice.grid, extents_of_choice(choice)).needed_bytes();
  }

 private:
  /// The extents of a choice. Looking at all sequences takes long, and many choices are tried. So
  /// the result is kept: it depends only on tokens per microbatch, chunk tokens and ep.
  Extents extents_of_choice(const Choice& choice) {
    const auto [at, is_new] =
        known_.try_emplace({choice.tokens_per_microbatch, choice.chunk_tokens, choice.grid.ep});
    Extents& extents = at->second;
    if (is_new) {
      std::vector<Microbatch> made;
      std::span<const Microbatch> microbatches = plan_.microbatches;
      if (choice.tokens_per_microbatch != config_.tokens_per_microbatch)
        microbatches = made = make_microbatches(lengths_, choice.tokens_per_microbatch);
      extents = extents_of(microbatches, plan_.model, choice.grid, choice.chunk_tokens);
    }
    extents.max_home_tokens = home_tokens(extents.max_pass_tokens, choice.grid);
    return extents;
  }

  const Plan& plan_;
  const RunConfig& config_;
  std::span<const SequenceLength> lengths_;
  std::map<std::tuple<std::int64_t, std::int64_t, int>, Extents> known_;
};

void check_fit(const Plan& plan, const RunConfig& config, std::span<const SequenceLength> lengths,
               std::int64_t limit_bytes) {
  const std::int64_t needed = plan.memory.needed_bytes();
  if (limit_bytes == 0 || needed <= limit_bytes) return;
  const RemedyRequest request{
      plan.model,
      plan.reduction_shards,
      limit_bytes,
      plan.extents.max_sequence_length,
      config.capacity_factor > 0,
      plan.memory.label_bytes + plan.memory.id_share + plan.memory.results_share};
  const Remedies remedies =
      find_remedies({plan.grid, config.tokens_per_microbatch, plan.chunk_tokens, plan.outputs},
                    request, Needs(plan, config, lengths));
  throw base::Refusal(
      ExitCode::resources,
      fmt::format("{} needs {} per rank ({}), {} more than the {} that a rank may use. {}.",
                  to_string(plan.grid), base::bytes_text(needed, needed),
                  to_string(plan.memory, needed), base::bytes_text(needed - limit_bytes, needed),
                  base::bytes_text(limit_bytes, needed), to_string(remedies, request)));
}

/// The number of (query, key) pairs of one sequence in one layer. A query attends to the last
/// `window` keys up to its own position; window = 0: to all of them.
double visible_pairs(double length, double window) {
  if (window == 0 || length <= window) return length * (length + 1) / 2;
  return window * (window + 1) / 2 + (length - window) * window;
}

/// FLOPs of one layer.
struct LayerCost {
  double keys = 0;          // per token: the products to key and value
  double up_to_router = 0;  // per token: the products to query, output and router
  double rest = 0;          // per token: all products but those to key and value
  double pair = 0;          // per (query, key) pair
};

LayerCost cost_of(const ModelSpec& spec, std::int64_t layer) {
  const bool is_moe = spec.is_moe[static_cast<std::size_t>(layer)];
  const auto hidden = static_cast<double>(spec.hidden_size);
  const auto query_width = static_cast<double>(spec.num_heads * spec.head_size);
  const auto kv_width = static_cast<double>(spec.num_kv_heads * spec.head_size);
  const double matrices = spec.expert_kind == ExpertKind::glu ? 3 : 2;
  LayerCost cost;
  cost.keys = 2 * 2 * kv_width * hidden;
  const double router = is_moe ? static_cast<double>(spec.num_experts) : 0;
  const double inner = static_cast<double>(is_moe ? spec.top_k * spec.expert_ffn : spec.dense_ffn);
  cost.up_to_router = 2 * (2 * query_width + router) * hidden;
  cost.rest = cost.up_to_router + 2 * matrices * inner * hidden;
  cost.pair = 4 * query_width;
  return cost;
}

/// The microbatches that contain a sequence of `lengths`. They are kept whole: with a capacity
/// factor a microbatch can only be computed as a whole.
std::vector<Microbatch> left_of(std::vector<Microbatch> microbatches,
                                std::span<const SequenceLength> lengths) {
  std::erase_if(microbatches, [&](const Microbatch& microbatch) {
    return std::ranges::none_of(microbatch.sequences, [&](const SequenceLength& sequence) {
      return std::ranges::binary_search(lengths, sequence.sequence, {}, &SequenceLength::sequence);
    });
  });
  return microbatches;
}

}  // namespace

MemoryRequest memory_request(const RunConfig& config, const Plan& plan, const Extents& extents) {
  MemoryRequest request;
  request.extents = extents;
  request.depth = plan.depth;
  request.top_k_logprobs = plan.outputs.topk ? plan.outputs.top_k_logprobs : 0;
  request.has_capacity = config.capacity_factor > 0;
  request.outputs = plan.outputs;
  request.packed_bytes = plan.packed_bytes;
  request.files = plan.files;
  request.files.labels += extents.list_bytes;
  return request;
}

Plan make_plan(const RunConfig& config, const ModelSpec& spec, std::int64_t reduction_shards,
               std::span<const SequenceLength> lengths, const Ranks& ranks,
               std::span<const SequenceLength> all) {
  if (config.tokens_per_microbatch < 1)
    throw base::Refusal(ExitCode::usage,
                        fmt::format("--tokens-per-microbatch {} is not a positive number. Use 1 "
                                    "or more.",
                                    config.tokens_per_microbatch));
  check_reduction_shards(spec, reduction_shards, ExitCode::weights);

  Plan plan;
  plan.model = spec;
  plan.reduction_shards = reduction_shards;
  plan.packed_bytes = ranks.packed_bytes;
  plan.files = ranks.files;
  plan.outputs = resolve_outputs(config, spec);
  plan.depth = depth_of(plan.outputs, spec.num_layers, config.capacity_factor);
  if (config.capacity_factor > 0) {
    plan.chunk_tokens = never;
    plan.microbatches = left_of(
        make_microbatches(all.empty() ? lengths : all, config.tokens_per_microbatch), lengths);
  } else {
    plan.chunk_tokens =
        config.chunk_tokens > 0 ? config.chunk_tokens : config.tokens_per_microbatch;
    plan.microbatches = make_microbatches(lengths, config.tokens_per_microbatch);
  }
  std::map<int, Extents> by_ep;  // of the grid only ep matters, but for max_home_tokens (below)
  const auto extents_on = [&](const Grid& grid) {
    if (!by_ep.contains(grid.ep))
      by_ep[grid.ep] = extents_of(plan.microbatches, spec, grid, plan.chunk_tokens);
    Extents extents = by_ep[grid.ep];
    extents.max_home_tokens = home_tokens(extents.max_pass_tokens, grid);
    return extents;
  };
  const auto rank_bytes = [&](const Grid& grid) {
    return largest_memory(config, plan, grid, extents_on(grid)).needed_bytes();
  };
  ChosenGrid chosen = choose_grid(spec, reduction_shards, ranks.number, config.grid,
                                  ranks.memory_limit_bytes, rank_bytes);
  plan.grid = chosen.grid;
  plan.grid_reason = std::move(chosen.reason);
  plan.extents = extents_on(plan.grid);
  plan.memory = largest_memory(config, plan, plan.grid, plan.extents);
  check_fit(plan, config, lengths, ranks.memory_limit_bytes);
  return plan;
}

double sequence_flops(const ModelSpec& spec, const Outputs& outputs, const Depth& depth,
                      std::int64_t length, std::int64_t num_fed) {
  const auto tokens = static_cast<double>(num_fed);
  const SequenceSpan whole{0, 0, num_fed, length};
  const Range wanted = wanted_rows(whole, depth.rows);
  double flops = 0;
  for (std::int64_t layer = 0; layer < depth.num_layers; ++layer) {
    const LayerCost cost = cost_of(spec, layer);
    const bool is_deepest = layer + 1 == depth.num_layers;
    const double rows = is_deepest ? static_cast<double>(wanted.size()) : tokens;
    const auto window = static_cast<double>(spec.window[static_cast<std::size_t>(layer)]);
    const double pairs = is_deepest ? visible_pairs(static_cast<double>(wanted.end), window) -
                                          visible_pairs(static_cast<double>(wanted.begin), window)
                                    : visible_pairs(tokens, window);
    flops += cost.keys * tokens + cost.rest * rows + cost.pair * pairs;
    const bool only_routes = is_deepest && depth.rows == RowsWanted::none && depth.has_routing;
    if (only_routes && spec.is_moe[static_cast<std::size_t>(layer)])
      flops += cost.up_to_router * tokens + cost.pair * visible_pairs(tokens, window);
  }
  const double logits = 2 * static_cast<double>(spec.hidden_size * spec.vocab_size);
  return flops + logits * static_cast<double>(wanted_rows(whole, head_rows(outputs)).size());
}

}  // namespace tetrarch::plan
