/// One EP rank's part of the sequences that pass the layers together.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "plan/depth.hpp"

namespace tetrarch::model {

/// A run of tokens of one sequence. A sequence need not be here as a whole, nor here alone.
struct SequenceRows {
  std::int64_t sequence = 0;        // in input order
  std::int64_t first_position = 0;  // of the run within its sequence
  std::int64_t count = 0;
  std::int64_t length = 0;       // of the whole sequence
  std::int32_t next_token = -1;  // the one that the run's last row predicts; -1: none
  std::int64_t cache_row = -1;   // of position 0 in the KV cache; -1: all of the sequence is here

  plan::SequenceSpan span() const { return {sequence, first_position, count, length}; }
};

/// Rows stand one run after another. Between layers row t lives on the tp rank that `home` names:
/// `home_begin` lists each rank's first row, and their number at its end.
struct MicroBatch {
  std::int32_t index = 0;  // in the plan's list
  std::vector<SequenceRows> rows;
  std::vector<std::int32_t> token;  // [num_tokens] token ids, the same on all tp ranks; empty on
                                    // stages that need none
  std::vector<std::int64_t> home_begin;  // [tp + 1]
  /// With a capacity factor: the place in the whole microbatch of each row of the stage, in rank
  /// order, and the rows of each rank.
  std::vector<std::int32_t> stage_place;
  std::vector<std::int64_t> stage_count;

  std::int64_t num_tokens() const { return home_begin.back(); }
  plan::Range home(int tp_rank) const { return {home_begin[tp_rank], home_begin[tp_rank + 1]}; }
};

/// Sets home_begin: equal shares of the rows of all runs (shares differ by one row at most).
void spread_evenly(MicroBatch& batch, int tp_size);

/// Some rows of a part.
struct Selection {
  MicroBatch batch;                // the selected rows, each at the home that it had
  std::vector<std::int32_t> part;  // their row numbers in the part
  std::vector<std::int32_t> home;  // those of this tp rank, in its home
};
Selection select_rows(const MicroBatch& batch, plan::RowsWanted rows, int tp_rank);

}  // namespace tetrarch::model
