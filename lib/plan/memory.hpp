/// Bytes of everything a rank allocates, name by name; the workspace is laid out from this table.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "plan/depth.hpp"

namespace tetrarch::plan {

/// The buffers of a Workspace. model/workspace.cpp takes each at the size planned here.
enum class BufferName {
  residual,           // [home, D] the token-sharded residual stream
  residual_next,      // [home, D]
  normed,             // [home, D]
  gathered,           // [part, D] normed rows of the whole part; absent at tp = 1
  selected,           // [part, D] rows of the part that are wanted after the last layer
  query,              // [part, local heads * d]
  key,                // [part, local kv heads * d]
  value,              // [part, local kv heads * d]
  cache_key,          // [stage layers][cache, local kv heads * d] sequences that pass in chunks
  cache_value,        // the same
  attended,           // [local slices][part, H * d / V]
  attention_partial,  // [local slices][part, D]
  reduce_received,    // [V][rows, D] slices of all tp peers for this rank's rows; absent at tp = 1
  router_logits,      // [home, E] f32
  expert_ids,         // [home, k] i32
  kept_ids,           // [home, k] i32, -1 where dropped; with a capacity factor, as the next
  stage_expert_ids,   // [microbatch, k] i32 of all ranks of the stage
  gate_weights,       // [home, k] f32
  send_order,         // [home * k] i32: the token of each sent copy
  send_position,      // [home, k] i32: where each copy stands in the send order
  counts,             // [ep * tp, E] i32 of all peers; own in its own row
  sent,               // [home * k, D] copies, in send order
  received,           // [R, D] copies of this round received by this rank; absent at ep = 1
  exchanged,          // [R, D] of all tp peers together; absent at tp = 1
  expert_order,       // [R] i32
  exchange_order,     // [R] i32, the inverse
  expert_rows,        // [R, D] grouped by expert; absent with one rank a stage
  gate,               // [R, local F]; of a dense layer [part, local F], as the next three
  up,                 // [R, local F]
  activated,          // [local slices][R, F / V]
  expert_partial,     // [local slices][R, D]
  expert_reduced,     // [R, D] rows of this rank's receipt, finished
  returned,           // [home * k, D] back at home, in send order; absent at ep = 1
  head_normed,        // [chunk, D] the rows whose logits are wanted
  head_logits,        // [chunk, largest local vocabulary] f32
  head_stats,         // [chunk, 4 * local slices] i32
  head_stats_all,     // [tp * chunk, 4 * local slices] i32; absent at tp = 1
  head_top,           // [chunk, 2 * tops] i32: ids and logits of a rank's most likely tokens
  head_top_all,       // [tp * chunk, 2 * tops] i32; absent at tp = 1
  token_ids,          // [part] i32: ids, and row numbers of selections
  positions,          // [part] i32
  finite_flags,       // [home] i32
  num_buffers
};
std::string_view name_of(BufferName buffer);

struct BufferPlan {
  BufferName name;
  std::int64_t bytes = 0;
};

/// Host bytes that a rank may have on their way to the one that writes, at most.
inline constexpr std::int64_t most_outbox_bytes = 64 << 20;
/// Of a piece of rows on its way to the one that writes, at most, or one row.
inline constexpr std::int64_t piece_bytes = 4 << 20;

/// Host bytes for files, as those who read and write them count.
struct FileBytes {
  std::int64_t labels = 0;   // of the inputs, a rank's share of its node's
  std::int64_t ids = 0;      // of the inputs, on rank 0
  std::int64_t loading = 0;  // while weights are read
  std::int64_t writer = 0;   // of a rank that writes parts
  std::int64_t results = 0;  // of rank 0 while it writes the results
};

struct MemoryPlan {
  std::int64_t weight_bytes = 0;  // as the backend holds them
  std::int64_t table_bytes = 0;   // cosines and sines of positions
  std::int64_t round_rows = 0;    // R: received rows of an EP rank's experts in one round
  std::int64_t head_chunk = 0;    // rows of logits at once: at most 256 MiB with its companions
  std::vector<BufferPlan> workspace;
  std::int64_t outbox_bytes = 0;
  std::int64_t likely_bytes = 0;   // the likeliest tokens of a chunk of rows, on the host
  std::int64_t writer_bytes = 0;   // of parts, and of pieces that arrive
  std::int64_t label_bytes = 0;    // ids, places and lengths of all sequences
  std::int64_t loading_bytes = 0;  // before there is a workspace
  std::int64_t results_bytes = 0;  // after the workspace has been given back
  std::int64_t workspace_bytes() const;
  /// All that the backend allocates.
  std::int64_t tensor_bytes() const { return weight_bytes + table_bytes + workspace_bytes(); }
  /// What is there while microbatches pass, besides weights and labels.
  std::int64_t passing_bytes() const;
  /// The most at any time.
  std::int64_t total_bytes() const;
};

/// "weights 1.2 GiB, workspace 300 MiB": what has bytes.
/// `compared_with`: all in the unit of so many bytes; 0: each in its own.
std::string to_string(const MemoryPlan& memory, std::int64_t compared_with = 0);

/// Bytes of a weight [outputs, inputs] of the model's dtype as a backend packs it.
using PackedBytes = std::function<std::int64_t(std::int64_t outputs, std::int64_t inputs)>;

/// What the memory of a rank depends on beside model and grid.
struct MemoryRequest {
  Extents extents;
  Depth depth;
  std::int64_t top_k_logprobs = 0;  // 0: not wanted
  bool has_capacity = false;        // a capacity factor is at work
  double round_factor = 2.0;        // times the mean rows of an EP rank are held in one round
  Outputs outputs = {};             // their rows go to the rank that writes
  PackedBytes packed_bytes = {};    // absent: dense
  FileBytes files = {};             // labels: with the plan's list of microbatches
};

/// Host bytes of outputs that a rank has on their way to the one that writes: of two passes, one
/// more for each later stage but the last, and at most most_outbox_bytes. None where it writes
/// itself.
std::int64_t outbox_bytes(const ModelSpec& spec, const Grid& grid, const Place& place,
                          const MemoryRequest& request);

/// Likely tokens of a row that each tp rank names: as many as are asked for, or its largest share
/// of the vocabulary.
std::int64_t tops_of_rank(std::int64_t vocab_size, int tp_size, std::int64_t top_k);

MemoryPlan plan_memory(const ModelSpec& spec, std::int64_t reduction_shards, const Grid& grid,
                       const Place& place, const MemoryRequest& request);

}  // namespace tetrarch::plan
