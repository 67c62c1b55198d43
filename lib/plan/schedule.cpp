// Groups sequences into microbatches, and assigns those of a microbatch to EP ranks.
// SPDX-License-Identifier: Apache-2.0
#include "plan/schedule.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.hpp"
#include "base/shape.hpp"

namespace tetrarch::plan {

std::vector<Microbatch> make_microbatches(std::span<const SequenceLength> sequences,
                                          std::int64_t tokens_per_microbatch) {
  base::expects(tokens_per_microbatch > 0, "a positive number of tokens per microbatch");
  std::vector<Microbatch> microbatches;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::int64_t length = sequences[i].length;
    base::expects(length > 0, "sequences with tokens");
    if (microbatches.empty() || length > tokens_per_microbatch - microbatches.back().num_tokens)
      microbatches.push_back({sequences.subspan(i, 0), 0});
    Microbatch& last = microbatches.back();
    last = {{last.sequences.data(), last.sequences.size() + 1}, last.num_tokens + length};
  }
  microbatches.shrink_to_fit();
  return microbatches;
}

namespace {

/// Computes the EP rank of each sequence. Its vectors are reused from call to call.
class Assignment {
 public:
  Assignment(int ep, double linear_cost, double quadratic_cost)
      : ep_(ep), linear_(linear_cost), quadratic_(quadratic_cost) {
    base::expects(ep > 0, "at least one EP rank");
  }

  const std::vector<int>& ranks_of(std::span<const SequenceLength> sequences) {
    rank_.assign(sequences.size(), 0);
    if (ep_ == 1 || sequences.size() == 1) return rank_;
    longest_first_.resize(sequences.size());
    std::iota(longest_first_.begin(), longest_first_.end(), std::size_t{0});
    std::ranges::sort(longest_first_, [&](std::size_t a, std::size_t b) {
      return std::pair(sequences[b].length, a) < std::pair(sequences[a].length, b);
    });
    loads_.clear();
    for (int rank = 0; rank < ep_; ++rank)
      loads_.emplace_back(0.0, rank);  // in this order it already is a heap
    for (const std::size_t index : longest_first_) {
      std::ranges::pop_heap(loads_, std::greater<>());
      auto& [cost, rank] = loads_.back();
      rank_[index] = rank;
      const auto length = static_cast<double>(sequences[index].length);
      cost += length * linear_ + length * (length + 1) / 2 * quadratic_;
      std::ranges::push_heap(loads_, std::greater<>());
    }
    return rank_;
  }

 private:
  using Load = std::pair<double, int>;  // (cost so far, rank): ties go to the lower rank
  int ep_;
  double linear_, quadratic_;
  std::vector<int> rank_;
  std::vector<std::size_t> longest_first_;
  std::vector<Load> loads_;
};

}  // namespace

std::vector<std::vector<SequenceLength>> assign_to_ep(const Microbatch& microbatch, int ep,
                                                      double linear_cost, double quadratic_cost) {
  Assignment assignment(ep, linear_cost, quadratic_cost);
  const std::vector<int>& ranks = assignment.ranks_of(microbatch.sequences);
  std::vector<std::vector<SequenceLength>> parts(static_cast<std::size_t>(ep));
  for (std::size_t index = 0; index < ranks.size(); ++index)
    parts[static_cast<std::size_t>(ranks[index])].push_back(microbatch.sequences[index]);
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

/// Tokens of one EP rank.
struct Load {
  std::int64_t part = 0;   // in the first pass
  std::int64_t cache = 0;  // whole lengths of sequences that pass in chunks
  std::int64_t num_sequences = 0;
};

}  // namespace

std::int64_t home_tokens(std::int64_t part_tokens, const Grid& grid) {
  return base::ceil_div(part_tokens, grid.tp);
}

// Each sequence has at least as many tokens in a pass as in the next one, so the first pass is the
// largest.
Extents extents_of(std::span<const Microbatch> microbatches, const ModelSpec& spec,
                   const Grid& grid, std::int64_t chunk_tokens) {
  Extents extents;
  Assignment assignment(grid.ep, linear_cost(spec), quadratic_cost(spec));
  std::vector<Load> loads;
  for (const Microbatch& microbatch : microbatches) {
    const std::vector<int>& ranks = assignment.ranks_of(microbatch.sequences);
    loads.assign(static_cast<std::size_t>(grid.ep), {});
    std::int64_t tokens = 0;
    for (std::size_t index = 0; index < ranks.size(); ++index) {
      const std::int64_t length = microbatch.sequences[index].length;
      Load& load = loads[static_cast<std::size_t>(ranks[index])];
      load.part += std::min(length, chunk_tokens);
      ++load.num_sequences;
      tokens += std::min(length, chunk_tokens);
      grow(extents.max_sequence_length, length);
      if (length <= chunk_tokens) continue;
      load.cache += length;
      ++extents.num_chunked;
    }
    grow(extents.max_microbatch_tokens, tokens);
    extents.list_bytes += sizeof(Microbatch);
    for (const Load& load : loads) {
      grow(extents.max_pass_tokens, load.part);
      grow(extents.max_cache_tokens, load.cache);
      grow(extents.max_part_sequences, load.num_sequences);
    }
  }
  extents.max_home_tokens = home_tokens(extents.max_pass_tokens, grid);
  return extents;
}

double linear_cost(const ModelSpec& spec) {
  const auto hidden = static_cast<double>(spec.hidden_size);
  const double query_key_value_output =
      4.0 * hidden * static_cast<double>((spec.num_heads + spec.num_kv_heads) * spec.head_size);
  const double router = 2.0 * hidden * static_cast<double>(spec.num_experts);
  // The head is computed on the rank that has the token; each layer counts 1 / num_layers of it.
  // Experts do not count: they are computed on the ranks that own them.
  const double head =
      2.0 * hidden * static_cast<double>(spec.vocab_size) / static_cast<double>(spec.num_layers);
  return query_key_value_output + router + head;
}

double quadratic_cost(const ModelSpec& spec) {
  return 4.0 * static_cast<double>(spec.num_heads * spec.head_size);
}

}  // namespace tetrarch::plan
