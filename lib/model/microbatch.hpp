/// One EP rank's part of the sequences that pass the layers together.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "plan/layout.hpp"

namespace tetrarch::model {

/// A run of tokens of one sequence. A sequence need not be here as a whole, nor here alone.
struct SequenceRows {
  std::int64_t sequence = 0;        // in input order
  std::int64_t first_position = 0;  // of the run within its sequence
  std::int64_t count = 0;
};

/// Rows stand one run after another. Between layers row t lives on the tp rank that `home` names.
struct MicroBatch {
  std::int32_t index = 0;  // in the plan's list
  std::vector<SequenceRows> rows;
  std::vector<std::int32_t> token;  // [num_tokens] token ids, the same on all tp ranks

  std::int64_t num_tokens() const { return static_cast<std::int64_t>(token.size()); }
  plan::Range home(int tp_size, int tp_rank) const {
    return plan::even_range(num_tokens(), tp_size, tp_rank);
  }
};

}  // namespace tetrarch::model
