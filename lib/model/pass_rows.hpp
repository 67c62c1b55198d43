/// The rows of one EP rank in one pass through the layers. Comments of this folder call these rows
/// the pass.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "plan/depth.hpp"

namespace tetrarch::model {

/// A run of consecutive tokens of one sequence. A pass may hold a run of a sequence and not all of
/// it, and it may hold runs of several sequences.
struct SequenceRows {
  std::int64_t sequence = 0;        // index in input order
  std::int64_t first_position = 0;  // of the run within its sequence
  std::int64_t count = 0;
  std::int64_t length = 0;       // of the whole sequence
  std::int32_t next_token = -1;  // the token that the last row of the run predicts; -1: none
  // row of position 0 in the KV cache; -1: the pass has the whole sequence
  std::int64_t cache_row = -1;

  plan::SequenceSpan span() const { return {sequence, first_position, count, length}; }
};

/// The rows, run after run. Between layers, row t is stored on one tp rank, its home: rank r holds
/// the rows home_begin[r] .. home_begin[r + 1] - 1.
struct PassRows {
  std::vector<SequenceRows> rows;
  std::vector<std::int32_t> token;       // [num_tokens], the same on all tp ranks; empty on
                                         // pipeline stages that do not need token ids
  std::vector<std::int64_t> home_begin;  // [tp + 1]
  /// Only with a capacity factor: stage_place is the place in the whole microbatch of each row of
  /// the stage, in rank order; stage_count is the number of rows of each rank.
  std::vector<std::int32_t> stage_place;
  std::vector<std::int64_t> stage_count;

  std::int64_t num_tokens() const { return home_begin.back(); }
  plan::Range home(int tp_rank) const { return {home_begin[tp_rank], home_begin[tp_rank + 1]}; }
};

/// Sets home_begin so that all tp ranks hold equal numbers of rows; the numbers differ by one at
/// most.
void spread_evenly(PassRows& pass_rows, int tp_size);

/// Selected rows of a pass.
struct Selection {
  PassRows pass_rows;              // the selected rows; each keeps its home
  std::vector<std::int32_t> pass;  // row numbers of the selected rows in the pass
  // row numbers of this rank's selected rows, counted in its home rows
  std::vector<std::int32_t> home;
};
Selection select_rows(const PassRows& pass_rows, plan::RowsWanted rows, int tp_rank);

}  // namespace tetrarch::model
