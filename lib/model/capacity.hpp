/// Which copies of tokens an expert takes when it takes only so many.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/layout.hpp"

namespace tetrarch::model {

/// C = ceil(factor * tokens * top_k / num_experts), at least 1.
std::int64_t capacity_of(double factor, std::int64_t num_tokens, std::int64_t top_k,
                         std::int64_t num_experts);

/// The choices of the rows `own` of the stage, -1 where the copy is dropped: each expert keeps its
/// first `capacity` copies in the order (top-k slot, place in the microbatch).
///
/// expert_id  [tokens, k] of all ranks of the stage, in rank order
/// place      [tokens] the place in the microbatch of each of those rows
///
/// Capacity 1, top-1, tokens at the places 0 1 2 3 that choose experts 0 1 0 1:  kept 0 1 -1 -1.
std::vector<std::int32_t> kept_choices(std::span<const std::int32_t> expert_id,
                                       std::span<const std::int32_t> place, std::int64_t top_k,
                                       std::int64_t num_experts, std::int64_t capacity,
                                       plan::Range own);

}  // namespace tetrarch::model
