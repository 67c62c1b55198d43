// Finds changes that would make a plan fit into memory, by trying each one.
// SPDX-License-Identifier: Apache-2.0
#include "plan/remedy.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.hpp"

namespace tetrarch::plan {
namespace {

/// Tries changed copies of the current choice.
class Trials {
 public:
  Trials(const Choice& now, const RemedyRequest& request, const BytesOf& bytes_of)
      : now_(now), request_(request), bytes_of_(bytes_of) {}

  bool fits(const Choice& choice, std::int64_t limit_bytes) const try {
    return bytes_of_(choice) <= limit_bytes;
  } catch (const base::Refusal&) {
    return false;  // too large to be counted
  }

  /// The largest of most / 2, most / 4, ... >= least that fits; 0 if none does. A binary search:
  /// smaller values never need more memory.
  template <class Change>
  std::int64_t largest_part(std::int64_t most, std::int64_t least, const Change& change) const {
    std::vector<std::int64_t> candidates;
    for (std::int64_t value = most / 2; value >= least; value /= 2)
      candidates.push_back(value);
    const auto found = std::ranges::partition_point(candidates, [&](std::int64_t value) {
      Choice choice = now_;
      change(choice, value);
      return !fits(choice, request_.limit_bytes);
    });
    return found == candidates.end() ? 0 : *found;
  }

  /// Memory falls with the tokens, with one exception: below the length of the longest sequence
  /// that sequence passes in chunks and needs a KV cache. So the two ranges are searched one after
  /// the other.
  std::int64_t tokens_per_microbatch() const {
    const auto change = [&](Choice& choice, std::int64_t tokens) {
      choice.tokens_per_microbatch = tokens;
      if (!request_.has_capacity) choice.chunk_tokens = std::min(choice.chunk_tokens, tokens);
    };
    const std::int64_t most = now_.tokens_per_microbatch;
    const std::int64_t whole =
        largest_part(most, std::max<std::int64_t>(1, request_.longest), change);
    if (whole > 0) return whole;
    return largest_part(std::min(most, 2 * request_.longest), 1, change);
  }

  std::int64_t chunk_tokens() const {
    if (request_.has_capacity) return 0;
    const std::int64_t most = std::min(now_.chunk_tokens, 2 * request_.longest);
    constexpr std::int64_t least = 16;  // smaller chunks save hardly any memory and cost time
    return largest_part(most, least,
                        [](Choice& choice, std::int64_t tokens) { choice.chunk_tokens = tokens; });
  }

  /// Outputs to leave out until the plan fits, those with the largest rows first; empty if that
  /// does not help.
  std::vector<std::string> outputs() const {
    Choice choice = now_;
    std::vector<std::string> left_out;
    const auto leave_out = [&](bool Outputs::*output, const char* name) {
      if (!(choice.outputs.*output) || fits(choice, request_.limit_bytes)) return;
      choice.outputs.*output = false;
      left_out.emplace_back(name);
    };
    leave_out(&Outputs::topk, "topk");
    leave_out(&Outputs::last_logits, "last_logits");
    leave_out(&Outputs::kv, "kv");
    leave_out(&Outputs::hidden, "hidden");
    leave_out(&Outputs::experts, "experts");
    const Outputs& rest = choice.outputs;
    const bool is_something = rest.logprobs || rest.topk || rest.last_logits || rest.kv ||
                              rest.hidden || rest.experts || rest.routing;
    if (!is_something || !fits(choice, request_.limit_bytes)) return {};
    return left_out;
  }

  /// The first grid that fits, tried by rising pp, then rising tp: small ones take least time.
  std::optional<Grid> grid(int num_ranks, std::int64_t limit_bytes) const {
    for (int pp = 1; pp <= std::min<std::int64_t>(num_ranks, request_.spec.num_layers); ++pp)
      for (const Grid& grid : admitted_grids(request_.spec, request_.reduction_shards, num_ranks,
                                             {.dp = {}, .pp = pp, .ep = {}, .tp = {}})) {
        Choice choice = now_;
        choice.grid = grid;
        if (fits(choice, limit_bytes)) return grid;
      }
    return std::nullopt;
  }

  /// Fewer ranks on the same nodes, so that each may use more memory; 0 if none fits.
  int fewer_ranks() const {
    for (int ranks = now_.grid.size(), part = 2; ranks / part >= 1; part *= 2)
      if (ranks % part == 0 && grid(ranks / part, request_.limit_bytes * part)) return ranks / part;
    return 0;
  }

  int more_ranks() const {
    constexpr int most = 64;  // at most 64 times as many nodes
    for (int times = 2; times <= most; times *= 2)
      if (grid(now_.grid.size() * times, request_.limit_bytes)) return now_.grid.size() * times;
    return 0;
  }

 private:
  const Choice& now_;
  const RemedyRequest& request_;
  const BytesOf& bytes_of_;
};

}  // namespace

Remedies find_remedies(const Choice& now, const RemedyRequest& request, const BytesOf& bytes_of) {
  const Trials trials(now, request, bytes_of);
  Remedies remedies;
  remedies.tokens_per_microbatch = trials.tokens_per_microbatch();
  if (remedies.tokens_per_microbatch == 0) remedies.chunk_tokens = trials.chunk_tokens();
  remedies.outputs = trials.outputs();
  remedies.grid = trials.grid(now.grid.size(), request.limit_bytes);
  if (!remedies.grid) remedies.fewer_ranks = trials.fewer_ranks();
  if (!remedies.grid) remedies.more_ranks = trials.more_ranks();
  return remedies;
}

std::string to_string(const Remedies& remedies, const RemedyRequest& request) {
  std::vector<std::string> ways;
  if (const std::int64_t tokens = remedies.tokens_per_microbatch; tokens > 0)
    ways.push_back(fmt::format("use --tokens-per-microbatch {}{}", tokens,
                               !request.has_capacity && request.longest > tokens
                                   ? " (longer sequences then pass in chunks of that many tokens)"
                                   : ""));
  if (remedies.chunk_tokens > 0)
    ways.push_back(fmt::format("use --chunk-tokens {}", remedies.chunk_tokens));
  if (remedies.grid)
    ways.push_back(fmt::format("use --dp {} --pp {} --ep {} --tp {}", remedies.grid->dp,
                               remedies.grid->pp, remedies.grid->ep, remedies.grid->tp));
  if (!remedies.outputs.empty())
    ways.push_back(fmt::format("leave {} out of --outputs", fmt::join(remedies.outputs, " and ")));
  if (remedies.fewer_ranks > 0)
    ways.push_back(fmt::format("start {} ranks on the same nodes, so that each may use more memory",
                               remedies.fewer_ranks));
  if (remedies.more_ranks > 0)
    ways.push_back(
        fmt::format("start {} ranks on more nodes, with no more ranks on each node than now",
                    remedies.more_ranks));
  if (!ways.empty()) {
    std::string text = fmt::format("{}", fmt::join(ways, ", or "));
    text.front() = static_cast<char>(text.front() - 'a' + 'A');
    return text;
  }
  if (request.fixed_bytes >= request.limit_bytes)
    return "The ids, offsets and lengths of all sequences and the list of results alone need more "
           "memory: give the inputs to several runs, or use nodes with more memory";
  return fmt::format(
      "The longest sequence ({} tokens) fits neither with fewer tokens at once nor "
      "on up to 64 times as many nodes: split it, or use nodes with more memory",
      request.longest);
}

}  // namespace tetrarch::plan
