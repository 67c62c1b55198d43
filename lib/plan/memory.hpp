/// Computes the bytes that a rank allocates for each purpose. The workspace is allocated from the
/// table made here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "plan/depth.hpp"

namespace tetrarch::plan {

/// The buffers of a model::Workspace, which allocates each with the size planned here.
///
/// In shapes:
///   pass        tokens of one EP rank in one pass
///   home        those of them that this tp rank holds in the residual stream
///   microbatch  tokens of all EP ranks of the instance in one pass
///   D, E, k     hidden_size, num_experts, top_k
///   H, d        num_heads, head_size
///   V           reduction shards; a slice is one of them, local slices are those of this tp rank
///   F           inner width of an expert; local F: of the local slices
///   R           MemoryPlan::round_rows, rows that an EP rank receives in one round of dispatch
///   chunk       MemoryPlan::head_chunk, rows whose logits are computed at once
///   tops        tops_of_rank()
///   cache       Extents::max_cache_tokens
///   stage       the ep x tp ranks that compute the same layers together
///   copy        a token's row for one of its chosen experts: each token has k copies
/// Elements have the model's dtype unless f32 or i32 is named.
enum class BufferName {
  residual,           // [home, D] the residual stream, sharded by tokens over tp
  residual_next,      // [home, D]
  normed,             // [home, D]
  gathered,           // [pass, D] normed rows of all tp ranks; absent at tp = 1
  selected,           // [pass, D] rows of the pass that are wanted after the last layer
  query,              // [pass, local heads * d]
  key,                // [pass, local kv heads * d]
  value,              // [pass, local kv heads * d]
  cache_key,          // [stage layers][cache, local kv heads * d] of sequences passing in chunks
  cache_value,        // the same
  attended,           // [local slices][pass, H * d / V]
  attention_partial,  // [local slices][pass, D]
  reduce_received,    // [V][rows, D] slices of all tp ranks for this rank's rows; absent at tp = 1
  router_logits,      // [home, E] f32
  expert_ids,         // [home, k] i32
  kept_ids,           // [home, k] i32, -1: dropped; this and the next only with a capacity factor
  stage_expert_ids,   // [microbatch, k] i32 of all ranks of the stage
  gate_weights,       // [home, k] f32
  send_order,         // [home * k] i32: the token of each sent copy
  send_position,      // [home, k] i32: index of each copy in the send order
  counts,             // [ep * tp, E] i32: row r has the copies of rank r for each expert
  sent,               // [home * k, D] copies, in send order
  received,           // [R, D] copies that this rank receives in a round; absent at ep = 1
  exchanged,          // [R, D] the received copies of all tp ranks; absent at tp = 1
  expert_order,       // [R] i32: for each row in expert order its row in `exchanged`
  exchange_order,     // [R] i32: the inverse
  expert_rows,        // [R, D] grouped by expert; absent when a stage has one rank
  gate,               // [R, local F]; in dense layers this and the next three have `pass` rows
  up,                 // [R, local F]
  activated,          // [local slices][R, F / V]
  expert_partial,     // [local slices][R, D]
  expert_reduced,     // [R, D] sums over V for the rows that this rank received
  returned,           // [home * k, D] the experts' answers, in send order; absent at ep = 1
  head_normed,        // [chunk, D] the rows whose logits are wanted
  head_logits,        // [chunk, largest local vocabulary] f32
  head_stats,         // [chunk, 4 * local slices] i32: a backend::SliceStats for each slice
  head_stats_all,     // [tp * chunk, 4 * local slices] i32: of all tp ranks; absent at tp = 1
  head_top,           // [chunk, 2 * tops] i32: ids and logits of this rank's most likely tokens
  head_top_all,       // [tp * chunk, 2 * tops] i32: of all tp ranks; absent at tp = 1
  token_ids,          // [pass] i32: token ids, or row numbers of selected rows
  positions,          // [pass] i32
  finite_flags,       // [home] i32: whether a row has only finite values
  num_buffers
};
/// "residual", "residual_next", ...
std::string_view name_of(BufferName buffer);

struct BufferPlan {
  BufferName name;
  std::int64_t bytes = 0;
};

/// The most host bytes that a rank may have in sends to the rank that writes the part.
inline constexpr std::int64_t most_outbox_bytes = 64 << 20;
/// The most bytes of one message to the rank that writes; a row that is larger goes by itself.
inline constexpr std::int64_t piece_bytes = 4 << 20;

/// Host bytes for reading and writing files, as the code that does it counts them.
struct FileBytes {
  std::int64_t labels = 0;   // ids, offsets, lengths of inputs: a rank's share of its node's copy
  std::int64_t ids = 0;      // ids of the inputs that only rank 0 holds
  std::int64_t loading = 0;  // while weights are read
  std::int64_t writer = 0;   // of a rank that writes parts
  std::int64_t results = 0;  // of rank 0 while it writes results.h5
  int ranks_of_node = 1;     // on rank 0's node: what only rank 0 holds is shared out among them
};

/// The bytes of one rank.
struct MemoryPlan {
  std::int64_t weight_bytes = 0;  // weights as the backend holds them
  std::int64_t table_bytes = 0;   // cosines and sines of the positions
  std::int64_t round_rows = 0;    // R: rows that an EP rank receives in one round of dispatch
  std::int64_t head_chunk = 0;    // rows whose logits are computed at once: at most 256 MiB
  std::vector<BufferPlan> workspace;
  std::int64_t outbox_bytes = 0;   // rows in sends to the rank that writes
  std::int64_t likely_bytes = 0;   // most likely tokens of a chunk of rows, on the host
  std::int64_t writer_bytes = 0;   // of the rank that writes: its part, and pieces it receives
  std::int64_t label_bytes = 0;    // offsets and lengths of all sequences
  std::int64_t id_bytes = 0;       // ids of all sequences, on rank 0
  std::int64_t loading_bytes = 0;  // while weights are read, before the workspace is allocated
  std::int64_t results_bytes = 0;  // while results are written, after the workspace is freed
  // What only rank 0 holds, divided by the number of ranks on its node. While rank 0 writes
  // results, the other ranks have freed their workspace too.
  std::int64_t id_share = 0, results_share = 0;
  std::int64_t workspace_bytes() const;
  /// Everything that the backend allocates.
  std::int64_t tensor_bytes() const { return weight_bytes + table_bytes + workspace_bytes(); }
  /// What is allocated while microbatches are computed, without weights and labels.
  std::int64_t passing_bytes() const;
  /// The most bytes at any time of the run.
  std::int64_t total_bytes() const;
  /// What this rank needs of its node's memory, of which each rank may use an equal share.
  std::int64_t needed_bytes() const;
};

/// "weights 1.2 GiB, workspace 300 MiB": the entries that count at the time of the most bytes.
/// compared_with > 0: every number in the unit that suits so many bytes; 0: each in its own unit.
std::string to_string(const MemoryPlan& memory, std::int64_t compared_with = 0);

/// Bytes of a weight [outputs, inputs] of the model's dtype as a backend packs it.
using PackedBytes = std::function<std::int64_t(std::int64_t outputs, std::int64_t inputs)>;

/// What the memory of a rank depends on besides model and grid.
struct MemoryRequest {
  Extents extents;
  Depth depth;
  std::int64_t top_k_logprobs = 0;  // 0: output topk is not wanted
  bool has_capacity = false;        // a capacity factor is set
  double round_factor = 2.0;        // R = round_factor x the mean copies of an EP rank
  Outputs outputs = {};             // their rows are sent to the rank that writes
  PackedBytes packed_bytes = {};    // absent: weights are held dense
  FileBytes files = {};             // labels: include the plan's list of microbatches
};

/// Host bytes of output rows that a rank has in sends to the rank that writes: rows of two passes,
/// and of one more for each later stage; at most most_outbox_bytes. 0 on the rank that writes.
std::int64_t outbox_bytes(const ModelSpec& spec, const Grid& grid, const Place& place,
                          const MemoryRequest& request);

/// The number of most likely tokens of a row that each tp rank contributes: `top_k`, or the largest
/// vocabulary slice of a tp rank if that is smaller.
std::int64_t tops_of_rank(std::int64_t vocab_size, int tp_size, std::int64_t top_k);

/// The bytes of the rank at `place`. Throws Refusal(usage) when a microbatch has more copies of
/// tokens than 32 bits can number, Refusal(resources) when the bytes do not fit in 63 bits.
MemoryPlan plan_memory(const ModelSpec& spec, std::int64_t reduction_shards, const Grid& grid,
                       const Place& place, const MemoryRequest& request);

}  // namespace tetrarch::plan
