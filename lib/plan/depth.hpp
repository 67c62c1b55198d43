/// How deep the outputs that were asked for reach, and which rows they need at the end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/run_config.hpp"
#include "plan/schedule.hpp"
#include "plan/shard.hpp"

namespace tetrarch::plan {

/// Which rows of a sequence are wanted: none, its last one, all that predict a token of it, all.
enum class RowsWanted { none, last, predicting, all };

/// What is computed at all. The deepest layer needs keys and values of every row, and the rest of
/// it only for the rows wanted.
struct Depth {
  std::int64_t num_layers = 0;         // layers that are begun
  RowsWanted rows = RowsWanted::none;  // of the deepest layer's output
  bool has_routing = false;            // the deepest layer routes every row, whatever `rows` says
  bool has_final = false;              // the final norm
  bool has_head = false;               // logits
  bool operator==(const Depth&) const = default;
};

/// With a capacity factor (> 0) rows compete for places at the experts, so that none is left out of
/// a layer whose output is wanted.
Depth depth_of(const Outputs& outputs, std::int64_t num_layers, double capacity_factor);
/// Whether nothing but log-probs is wanted: then the last token of a sequence is only looked up in
/// what the position before it predicts, and need not be fed.
bool only_scores(const Outputs& outputs);
/// Rows whose logits are wanted.
RowsWanted head_rows(const Outputs& outputs);

/// Of a run of rows that stands in a sequence: the wanted ones, counted from the run's first row.
/// With 5 tokens in two runs of 3 and 2:  predicting 0 1 2 | 0   last - | 1
Range wanted_rows(const SequenceSpan& span, RowsWanted rows);

/// The weights that a stage of the pipeline holds.
struct Held {
  bool embed = false;  // to look rows up
  bool final_norm = false;
  bool head = false;  // packed for its product; of tied embeddings too
  Range layers;
};
Held held_by(const Depth& depth, int pp, int pp_rank);
bool is_held(const TensorSpec& tensor, const ModelSpec& spec, const Held& held);

}  // namespace tetrarch::plan
