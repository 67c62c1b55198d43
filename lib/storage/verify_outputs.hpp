/// What must hold inside and between outputs: the order of /topk, and experts against their counts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "plan/model_spec.hpp"

namespace tetrarch::storage {

/// What is wrong with a row of /topk, nothing where it is right: log p descending, the lower id
/// first among equals, every id a token of the vocabulary and there once.
std::string topk_problem(std::span<const std::uint32_t> ids, std::span<const float> logprobs,
                         std::int64_t vocab_size);

/// Compares the choices of /experts with the counts of /routing, as far as a file has them.
class RoutingCheck {
 public:
  /// num_ok_tokens of sequences that are ok, num_tokens of all that passed the layers, also those
  /// whose values turned out not finite.
  RoutingCheck(const plan::ModelSpec& spec, std::int64_t num_ok_tokens, std::int64_t num_tokens);

  /// A row of /experts/NN of a sequence that is ok; returns what is wrong with it.
  std::string add(std::int64_t layer, std::span<const std::uint16_t> experts);
  /// /routing/tokens_per_expert [layers, experts] and /routing/dropped [layers]; with
  /// `has_experts` after every add(). A copy beyond an expert's capacity may count as its or not.
  std::string problem(std::span<const std::uint64_t> counts, std::span<const std::uint64_t> dropped,
                      bool has_experts) const;

 private:
  const plan::ModelSpec& spec_;
  std::int64_t num_ok_tokens_, num_tokens_;
  std::vector<std::uint64_t> chosen_;  // [layers, experts]
};

}  // namespace tetrarch::storage
