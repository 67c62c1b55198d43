/// Capacity of experts: which copies of tokens an expert keeps if it takes only a limited number.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/layout.hpp"

namespace tetrarch::model {

/// The number of copies that an expert keeps: ceil(factor * num_tokens * top_k / num_experts), at
/// least 1.
std::int64_t capacity_of(double factor, std::int64_t num_tokens, std::int64_t top_k,
                         std::int64_t num_experts);

/// Returns the choices of the rows `own` of the stage, [own, k], with -1 where the copy is dropped.
/// Each expert keeps its first `capacity` copies in the order (top-k slot, place in the
/// microbatch).
///
/// expert_id  [tokens, k], the choices of all ranks of the stage, in rank order
/// place      [tokens], the place in the microbatch of each of those rows
///
/// Example: capacity 1, top-1, and the tokens at places 0 1 2 3 choose the experts 0 1 0 1. The
/// result is 0 1 -1 -1.
std::vector<std::int32_t> kept_choices(std::span<const std::int32_t> expert_id,
                                       std::span<const std::int32_t> place, std::int64_t top_k,
                                       std::int64_t num_experts, std::int64_t capacity,
                                       plan::Range own);

}  // namespace tetrarch::model
