// Which layers and rows must be computed for the outputs that were asked for.
// SPDX-License-Identifier: Apache-2.0
#include "plan/depth.hpp"

#include <algorithm>

namespace tetrarch::plan {
namespace {

/// The smallest choice of rows that includes both.
RowsWanted both(RowsWanted a, RowsWanted b) {
  if (a == RowsWanted::none || a == b) return b;
  return b == RowsWanted::none ? a : RowsWanted::all;
}

/// Rows needed for the hidden states after `layer`. layer = num_layers means after the final norm.
RowsWanted hidden_rows(const Outputs& outputs, std::int64_t layer) {
  if (!outputs.hidden || std::ranges::count(outputs.hidden_layers, layer) == 0)
    return RowsWanted::none;
  return outputs.pooling == Pooling::last ? RowsWanted::last : RowsWanted::all;
}

}  // namespace

bool only_scores(const Outputs& outputs) {
  return outputs.logprobs && !outputs.topk && !outputs.last_logits && !outputs.hidden &&
         !outputs.kv && !outputs.routing && !outputs.experts;
}

RowsWanted head_rows(const Outputs& outputs) {
  RowsWanted rows = outputs.topk ? RowsWanted::all : RowsWanted::none;
  if (outputs.logprobs) rows = both(rows, RowsWanted::predicting);
  if (outputs.last_logits) rows = both(rows, RowsWanted::last);
  return rows;
}

Depth depth_of(const Outputs& outputs, std::int64_t num_layers, double capacity_factor) {
  Depth depth;
  depth.has_head = head_rows(outputs) != RowsWanted::none;
  depth.has_final = depth.has_head || hidden_rows(outputs, num_layers) != RowsWanted::none;
  depth.has_routing = outputs.experts || outputs.routing;
  if (depth.has_final || depth.has_routing || outputs.kv) {
    depth.num_layers = num_layers;
  } else if (outputs.hidden && !outputs.hidden_layers.empty()) {
    depth.num_layers = outputs.hidden_layers.back() + 1;
  }
  depth.rows = both(head_rows(outputs), hidden_rows(outputs, num_layers));
  if (depth.num_layers > 0)
    depth.rows = both(depth.rows, hidden_rows(outputs, depth.num_layers - 1));
  if (depth.rows != RowsWanted::none && (depth.has_routing || capacity_factor > 0))
    depth.rows = RowsWanted::all;
  return depth;
}

Range wanted_rows(const SequenceSpan& span, RowsWanted rows) {
  switch (rows) {
    case RowsWanted::all:
      return {0, span.count};
    case RowsWanted::predicting:
      return {0, span.count - (span.is_last() ? 1 : 0)};
    case RowsWanted::last:
      return span.is_last() ? Range{span.count - 1, span.count} : Range{};
    case RowsWanted::none:
      break;
  }
  return {};
}

Held held_by(const Depth& depth, int pp, int pp_rank) {
  const bool is_last = pp_rank == pp - 1;
  return {pp_rank == 0, is_last && depth.has_final, is_last && depth.has_head,
          stage_layers(depth.num_layers, pp, pp_rank)};
}

bool is_held(const TensorSpec& tensor, const ModelSpec& spec, const Held& held) {
  switch (tensor.kind().site) {
    case Site::embedding:
      return held.embed || (held.head && spec.tied_embeddings);
    case Site::head:
      return held.head;
    case Site::final_norm:
      return held.final_norm;
    case Site::layer:
      break;
  }
  return held.layers.contains(tensor.layer);
}

}  // namespace tetrarch::plan
