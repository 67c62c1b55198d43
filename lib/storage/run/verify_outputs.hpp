/// Checks of values: the order of /topk, and /experts against the counts of /routing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "plan/model_spec.hpp"

namespace tetrarch::storage {

/// What is wrong with a row of /topk; "" if nothing is. Required: log p descends, of equal ones the
/// lower id comes first, every id is below `vocab_size`, and no id occurs twice.
std::string topk_problem(std::span<const std::uint32_t> ids, std::span<const float> logprobs,
                         std::int64_t vocab_size);

/// Compares the choices of /experts with the counts of /routing.
class RoutingCheck {
 public:
  /// num_ok_tokens  tokens of the sequences that are ok
  /// num_tokens     tokens of all sequences that passed the layers, also of not_finite ones
  RoutingCheck(const plan::ModelSpec& spec, std::int64_t num_ok_tokens, std::int64_t num_tokens);

  /// Adds a row of /experts/NN, of a sequence that is ok. Returns what is wrong with it; "" if
  /// nothing is.
  std::string add(std::int64_t layer, std::span<const std::uint16_t> experts);
  /// What is wrong with the counts; "" if nothing is. With `has_experts` they are also compared
  /// with the rows given to add(), which must be all rows. Copies beyond an expert's capacity may
  /// be included in its count or not.
  ///
  /// counts   /routing/tokens_per_expert [layers, experts]
  /// dropped  /routing/dropped [layers]
  std::string problem(std::span<const std::uint64_t> counts, std::span<const std::uint64_t> dropped,
                      bool has_experts) const;

 private:
  const plan::ModelSpec& spec_;
  std::int64_t num_ok_tokens_, num_tokens_;
  std::vector<std::uint64_t> chosen_;  // [layers, experts]
};

}  // namespace tetrarch::storage
