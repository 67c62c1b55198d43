// Checks of values inside one output, and between outputs.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/verify_outputs.hpp"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "base/text.hpp"

namespace tetrarch::storage {
namespace {

constexpr std::uint16_t no_expert = 0xffff;

template <class T>
bool has_duplicates(std::span<const T> values) {
  std::vector<T> sorted(values.size());
  std::ranges::copy(values, sorted.begin());
  std::ranges::sort(sorted);
  return std::ranges::adjacent_find(sorted) != sorted.end();
}

}  // namespace

std::string topk_problem(std::span<const std::uint32_t> ids, std::span<const float> logprobs,
                         std::int64_t vocab_size) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= vocab_size)
      return fmt::format("has id {} at place {}, but vocab_size is {}", ids[i], i, vocab_size);
    if (i == 0) continue;
    const bool is_ordered =
        logprobs[i - 1] > logprobs[i] || (logprobs[i - 1] == logprobs[i] && ids[i - 1] < ids[i]);
    if (!is_ordered) return fmt::format("is not in order at places {} and {}", i - 1, i);
  }
  return has_duplicates(ids) ? "has an id twice" : "";
}

RoutingCheck::RoutingCheck(const plan::ModelSpec& spec, std::int64_t num_ok_tokens,
                           std::int64_t num_tokens)
    : spec_(spec),
      num_ok_tokens_(num_ok_tokens),
      num_tokens_(num_tokens),
      chosen_(static_cast<std::size_t>(spec.num_layers * spec.num_experts)) {}

std::string RoutingCheck::add(std::int64_t layer, std::span<const std::uint16_t> experts) {
  if (!spec_.is_moe[static_cast<std::size_t>(layer)])
    return std::ranges::all_of(experts, [](std::uint16_t id) { return id == no_expert; })
               ? ""
               : "has experts in a dense layer";
  for (const std::uint16_t expert : experts) {
    if (expert >= spec_.num_experts)
      return fmt::format("has expert {}, but the model has {}", expert, spec_.num_experts);
    ++chosen_[static_cast<std::size_t>(layer * spec_.num_experts + expert)];
  }
  return has_duplicates(experts) ? "has an expert twice" : "";
}

std::string RoutingCheck::problem(std::span<const std::uint64_t> counts,
                                  std::span<const std::uint64_t> dropped, bool has_experts) const {
  const auto num_experts = static_cast<std::size_t>(spec_.num_experts);
  for (std::size_t layer = 0; layer < dropped.size(); ++layer) {
    const auto of_layer = counts.subspan(layer * num_experts, num_experts);
    const std::uint64_t sum = std::accumulate(of_layer.begin(), of_layer.end(), std::uint64_t{0});
    const std::int64_t top_k = spec_.is_moe[layer] ? spec_.top_k : 0;
    const auto least = static_cast<std::uint64_t>(num_ok_tokens_ * top_k);
    const auto most = static_cast<std::uint64_t>(num_tokens_ * top_k);
    if (sum > most || dropped[layer] > most || sum + dropped[layer] < least)
      return fmt::format(
          "layer {} has {} copies of tokens at experts and {} dropped, expected {}", layer, sum,
          dropped[layer],
          least == most ? fmt::format("{}", most) : fmt::format("{} to {}", least, most));
    if (!has_experts || num_ok_tokens_ != num_tokens_) continue;
    for (std::size_t expert = 0; expert < num_experts; ++expert) {
      const std::uint64_t chosen = chosen_[layer * num_experts + expert];
      if (of_layer[expert] > chosen || of_layer[expert] + dropped[layer] < chosen)
        return fmt::format("layer {} has {} copies of tokens at expert {}, but {} chose it", layer,
                           of_layer[expert], expert,
                           base::counted(static_cast<std::int64_t>(chosen), "token"));
    }
  }
  return "";
}

}  // namespace tetrarch::storage
