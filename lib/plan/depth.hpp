/// Which layers and rows must be computed for the outputs that were asked for, and which weights
/// that takes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/run_config.hpp"
#include "plan/schedule.hpp"
#include "plan/shard.hpp"

namespace tetrarch::plan {

/// Which rows of a sequence are needed. none: no row. last: the row of the last token. predicting:
/// each row that is followed by another token of the sequence, so all but the last. all: every row.
enum class RowsWanted { none, last, predicting, all };

/// What is computed: layers 0 to num_layers - 1. All of them are computed for every row, except the
/// deepest one, layer num_layers - 1: it computes keys and values of every row, and all else only
/// for the rows in `rows`.
struct Depth {
  std::int64_t num_layers = 0;         // how many layers are computed
  RowsWanted rows = RowsWanted::none;  // rows for which the deepest layer's output is computed
  bool has_routing = false;            // the deepest layer routes every row, whatever `rows` says
  bool has_final = false;              // the final norm is computed
  bool has_head = false;               // logits are computed
  bool operator==(const Depth&) const = default;
};

/// The least that must be computed for `outputs`. With a capacity factor (> 0) all rows compete for
/// places at the experts, so a layer whose output is needed is then computed for all rows.
Depth depth_of(const Outputs& outputs, std::int64_t num_layers, double capacity_factor);
/// True when log-probs are the only output. Then the last token of a sequence need not pass the
/// layers: its log-prob comes from the logits of the position before it.
bool only_scores(const Outputs& outputs);
/// Rows whose logits are needed.
RowsWanted head_rows(const Outputs& outputs);

/// The rows of `span` that are needed, counted from the first row of the span.
/// A sequence of 5 tokens in two spans of 3 and 2 rows gives
///   predicting: rows 0 1 2 of the first span, row 0 of the second
///   last:       no row of the first span, row 1 of the second
Range wanted_rows(const SequenceSpan& span, RowsWanted rows);

/// The weights that a pipeline stage holds.
struct Held {
  bool embed = false;  // the embedding, as rows that are looked up
  bool final_norm = false;
  bool head = false;  // the head, packed for its product; with tied embeddings the embedding packed
  Range layers;
};
/// The weights of stage `pp_rank` of `pp` stages.
Held held_by(const Depth& depth, int pp, int pp_rank);
/// True when a stage that holds `held` needs this tensor.
bool is_held(const TensorSpec& tensor, const ModelSpec& spec, const Held& held);

}  // namespace tetrarch::plan
