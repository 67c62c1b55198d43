// Which sequences pass the layers together, and which EP rank has which.
// SPDX-License-Identifier: Apache-2.0
#include "plan/schedule.hpp"

#include <algorithm>
#include <numeric>
#include <queue>

#include "base/error.hpp"
#include "base/shape.hpp"

namespace tetrarch::plan {

std::vector<Microbatch> make_microbatches(std::span<const SequenceLength> sequences,
                                          std::int64_t tokens_per_microbatch) {
  base::expects(tokens_per_microbatch > 0, "a positive number of tokens per microbatch");
  std::vector<Microbatch> microbatches;
  for (const SequenceLength& sequence : sequences) {
    base::expects(sequence.length > 0, "sequences with tokens");
    if (microbatches.empty() ||
        sequence.length > tokens_per_microbatch - microbatches.back().num_tokens)
      microbatches.emplace_back();
    microbatches.back().sequences.push_back(sequence);
    microbatches.back().num_tokens += sequence.length;
  }
  return microbatches;
}

std::vector<std::vector<SequenceLength>> assign_to_ep(const Microbatch& microbatch, int ep,
                                                      double linear_cost, double quadratic_cost) {
  base::expects(ep > 0, "at least one EP rank");
  const std::vector<SequenceLength>& sequences = microbatch.sequences;
  std::vector<std::size_t> longest_first(sequences.size());
  std::iota(longest_first.begin(), longest_first.end(), std::size_t{0});
  std::stable_sort(longest_first.begin(), longest_first.end(), [&](std::size_t a, std::size_t b) {
    return sequences[a].length > sequences[b].length;
  });

  using Load = std::pair<double, int>;  // cost so far, rank: the least cost, then the lowest rank
  std::priority_queue<Load, std::vector<Load>, std::greater<>> loads;
  for (int rank = 0; rank < ep; ++rank)
    loads.emplace(0.0, rank);
  std::vector<int> rank_of_sequence(sequences.size());
  for (const std::size_t index : longest_first) {
    const auto length = static_cast<double>(sequences[index].length);
    auto [cost, rank] = loads.top();
    loads.pop();
    rank_of_sequence[index] = rank;
    cost += length * linear_cost + length * (length + 1) / 2 * quadratic_cost;
    loads.emplace(cost, rank);
  }

  std::vector<std::vector<SequenceLength>> parts(static_cast<std::size_t>(ep));
  for (std::size_t index = 0; index < sequences.size(); ++index)
    parts[static_cast<std::size_t>(rank_of_sequence[index])].push_back(sequences[index]);
  return parts;
}

std::int64_t num_passes(std::span<const SequenceLength> sequences, std::int64_t chunk_tokens) {
  std::int64_t passes = 0;
  for (const SequenceLength& sequence : sequences)
    passes = std::max(passes, base::ceil_div(sequence.length, chunk_tokens));
  return passes;
}

std::vector<SequenceSpan> spans_of_pass(std::span<const SequenceLength> sequences,
                                        std::int64_t chunk_tokens, std::int64_t pass) {
  std::vector<SequenceSpan> spans;
  for (const SequenceLength& sequence : sequences) {
    if (base::ceil_div(sequence.length, chunk_tokens) <= pass) continue;
    const std::int64_t first = pass * chunk_tokens;
    spans.push_back({sequence.sequence, first, std::min(chunk_tokens, sequence.length - first),
                     sequence.length});
  }
  return spans;
}

namespace {

void grow(std::int64_t& largest, std::int64_t value) {
  largest = std::max(largest, value);
}

/// What one EP rank has of a microbatch; adds its tokens of each pass.
void extend(Extents& extents, std::span<const SequenceLength> part, std::int64_t chunk_tokens,
            std::vector<std::int64_t>& pass_tokens) {
  std::int64_t cached = 0;
  // by how much the tokens of a pass differ from those of the pass before
  std::vector<std::int64_t> change(pass_tokens.size() + 1, 0);
  for (const SequenceLength& sequence : part) {
    grow(extents.max_sequence_length, sequence.length);
    const auto full = static_cast<std::size_t>(sequence.length / chunk_tokens);
    const std::int64_t rest = sequence.length % chunk_tokens;
    change[0] += full > 0 ? chunk_tokens : 0;
    change[full] += rest - (full > 0 ? chunk_tokens : 0);
    if (rest > 0) change[full + 1] -= rest;
    if (sequence.length <= chunk_tokens) continue;
    cached += sequence.length;
    ++extents.num_chunked;
  }
  grow(extents.max_cache_tokens, cached);
  std::int64_t tokens = 0;
  for (std::size_t pass = 0; pass < pass_tokens.size(); ++pass) {
    tokens += change[pass];
    grow(extents.max_part_tokens, tokens);
    pass_tokens[pass] += tokens;
  }
}

}  // namespace

Extents extents_of(std::span<const Microbatch> microbatches, const ModelSpec& spec,
                   const Grid& grid, std::int64_t chunk_tokens) {
  Extents extents;
  for (const Microbatch& microbatch : microbatches) {
    const auto parts = assign_to_ep(microbatch, grid.ep, linear_cost(spec), quadratic_cost(spec));
    std::vector<std::int64_t> pass_tokens(
        static_cast<std::size_t>(num_passes(microbatch.sequences, chunk_tokens)), 0);
    for (const std::vector<SequenceLength>& part : parts)
      extend(extents, part, chunk_tokens, pass_tokens);
    for (const std::int64_t tokens : pass_tokens)
      grow(extents.max_microbatch_tokens, tokens);
  }
  // the largest of the tp homes [floor(r*T/tp), floor((r+1)*T/tp)) of T tokens
  extents.max_home_tokens = base::ceil_div(extents.max_part_tokens, grid.tp);
  return extents;
}

double linear_cost(const ModelSpec& spec) {
  const auto hidden = static_cast<double>(spec.hidden_size);
  const double query_key_value_output =
      4.0 * hidden * static_cast<double>((spec.num_heads + spec.num_kv_heads) * spec.head_size);
  const double router = 2.0 * hidden * static_cast<double>(spec.num_experts);
  // The head too is computed where the token lives: its share of one layer. Experts are not.
  const double head =
      2.0 * hidden * static_cast<double>(spec.vocab_size) / static_cast<double>(spec.num_layers);
  return query_key_value_output + router + head;
}

double quadratic_cost(const ModelSpec& spec) {
  return 4.0 * static_cast<double>(spec.num_heads * spec.head_size);
}

}  // namespace tetrarch::plan
