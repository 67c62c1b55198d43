// SPDX-License-Identifier: Apache-2.0
#include "model/capacity.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/shape.hpp"

namespace tetrarch::model {

std::int64_t capacity_of(double factor, std::int64_t num_tokens, std::int64_t top_k,
                         std::int64_t num_experts) {
  // The factor is rounded to millionths, so that 1.1 means exactly 1.1. A factor above num_experts
  // drops nothing, as num_experts does.
  constexpr std::int64_t one = 1'000'000;
  const double most = std::min(factor, static_cast<double>(num_experts));
  const std::int64_t millionths = std::llround(most * static_cast<double>(one));
  return std::max<std::int64_t>(1,
                                base::ceil_div(millionths * num_tokens * top_k, num_experts * one));
}

std::vector<std::int32_t> kept_choices(std::span<const std::int32_t> expert_id,
                                       std::span<const std::int32_t> place, std::int64_t top_k,
                                       std::int64_t num_experts, std::int64_t capacity,
                                       plan::Range own) {
  const std::int64_t tokens = std::ssize(place);
  base::expects(std::ssize(expert_id) == tokens * top_k, "top_k choices per place");
  std::vector<std::int64_t> row_at(static_cast<std::size_t>(tokens), -1);
  for (std::int64_t row = 0; row < tokens; ++row) {
    base::expects_in_debug(place[row] >= 0 && place[row] < tokens, "a place of the microbatch");
    row_at[static_cast<std::size_t>(place[row])] = row;
  }

  std::vector<std::int32_t> kept(static_cast<std::size_t>(own.size() * top_k));
  std::vector<std::int64_t> taken(static_cast<std::size_t>(num_experts), 0);
  for (std::int64_t slot = 0; slot < top_k; ++slot)
    for (const std::int64_t row : row_at) {
      base::expects_in_debug(row >= 0, "a row at each place of the microbatch");
      const std::int32_t expert = expert_id[row * top_k + slot];
      // checked in every build: the choices of other ranks came by a message
      const bool is_kept = taken.at(static_cast<std::size_t>(expert))++ < capacity;
      if (own.contains(row)) kept[(row - own.begin) * top_k + slot] = is_kept ? expert : -1;
    }
  return kept;
}

}  // namespace tetrarch::model
