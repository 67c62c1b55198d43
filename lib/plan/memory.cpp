// Computes the bytes that a rank allocates for each purpose.
// SPDX-License-Identifier: Apache-2.0
#include "plan/memory.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace tetrarch::plan {

using base::ExitCode;

namespace {

constexpr std::int64_t alignment = 64;                  // bytes: a cache line, an AVX-512 load
constexpr std::int64_t head_piece_bytes = 192LL << 20;  // of the head's bound of 256 MiB
constexpr std::int64_t stats_bytes = 16;                // per row and slice: four 32-bit numbers
constexpr std::int64_t top_bytes = 8;                   // per row and likely token: id and logit
constexpr std::size_t num_buffers = static_cast<std::size_t>(BufferName::num_buffers);

constexpr std::array<std::string_view, num_buffers> buffer_names = {"residual",
                                                                    "residual_next",
                                                                    "normed",
                                                                    "gathered",
                                                                    "selected",
                                                                    "query",
                                                                    "key",
                                                                    "value",
                                                                    "cache_key",
                                                                    "cache_value",
                                                                    "attended",
                                                                    "attention_partial",
                                                                    "reduce_received",
                                                                    "router_logits",
                                                                    "expert_ids",
                                                                    "kept_ids",
                                                                    "stage_expert_ids",
                                                                    "gate_weights",
                                                                    "send_order",
                                                                    "send_position",
                                                                    "counts",
                                                                    "sent",
                                                                    "received",
                                                                    "exchanged",
                                                                    "expert_order",
                                                                    "exchange_order",
                                                                    "expert_rows",
                                                                    "gate",
                                                                    "up",
                                                                    "activated",
                                                                    "expert_partial",
                                                                    "expert_reduced",
                                                                    "returned",
                                                                    "head_normed",
                                                                    "head_logits",
                                                                    "head_stats",
                                                                    "head_stats_all",
                                                                    "head_top",
                                                                    "head_top_all",
                                                                    "token_ids",
                                                                    "positions",
                                                                    "finite_flags"};

/// The product of sizes. Throws Refusal when it exceeds 63 bits.
template <class... Sizes>
std::int64_t times(Sizes... sizes) {
  const std::array<std::int64_t, sizeof...(Sizes)> factors{static_cast<std::int64_t>(sizes)...};
  return base::checked_elements(factors);
}

std::int64_t rows_of_round(const ModelSpec& spec, const Grid& grid, const Extents& extents,
                           double round_factor) {
  const std::int64_t copies = times(extents.max_microbatch_tokens, spec.top_k);
  // With one EP rank no rows are exchanged: the number of rows does not depend on the routing, and
  // all of them fit in one round.
  if (grid.ep == 1) return std::max<std::int64_t>(1, copies);
  const double mean = static_cast<double>(copies) / grid.ep;
  const auto bound = static_cast<std::int64_t>(std::ceil(round_factor * mean));
  return std::max<std::int64_t>(1, std::min(copies, bound));
}

/// Rows and copies are numbered with 32-bit integers.
void check_copies(const ModelSpec& spec, const Extents& extents) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  if (extents.max_microbatch_tokens <= most / spec.top_k) return;
  throw base::Refusal(
      ExitCode::usage,
      fmt::format("a microbatch of {} tokens with top_k = {} is too large (32-bit numbers count at "
                  "most {} copies of tokens). Use a smaller --tokens-per-microbatch, or split the "
                  "longest sequence ({} tokens).",
                  extents.max_microbatch_tokens, spec.top_k, most, extents.max_sequence_length));
}

struct Sizes {
  std::int64_t pass, home, round, head_chunk, vocabulary, tops, cache;
};

std::vector<BufferPlan> workspace_of(const ModelSpec& spec, std::int64_t reduction_shards,
                                     const Grid& grid, const LocalSizes& local, const Sizes& sizes,
                                     const MemoryRequest& request) {
  const std::int64_t hidden = spec.hidden_size;
  const std::int64_t element = base::size_of(spec.dtype);
  const std::int64_t slices = local.slices.size();
  const std::int64_t attended = local.heads.size() * spec.head_size;
  const std::int64_t key_value = local.kv_heads.size() * spec.head_size;
  const std::int64_t ffn = spec.expert_ffn / reduction_shards * slices;
  const std::int64_t dense_ffn = spec.dense_ffn / reduction_shards * slices;
  const std::int64_t dense_rows = spec.has_dense_layers() ? sizes.pass : 0;
  const std::int64_t inner = std::max(times(sizes.round, ffn), times(dense_rows, dense_ffn));
  const std::int64_t has_gate = spec.expert_kind == ExpertKind::glu ? 1 : 0;
  const std::int64_t copies = times(sizes.home, spec.top_k);
  const std::int64_t reduce_rows = grid.tp == 1 ? 0 : std::max(sizes.home, sizes.round);
  const std::int64_t has_tp = grid.tp > 1 ? 1 : 0, has_ep = grid.ep > 1 ? 1 : 0;
  const std::int64_t has_peers = std::max(has_tp, has_ep);
  const std::int64_t stats = times(sizes.head_chunk, reduction_shards, stats_bytes);
  const std::int64_t tops = times(sizes.head_chunk, sizes.tops, top_bytes);
  const std::int64_t has_capacity = request.has_capacity ? 1 : 0;

  using B = BufferName;
  std::vector<BufferPlan> table = {
      {B::residual, times(sizes.home, hidden, element)},
      {B::residual_next, times(sizes.home, hidden, element)},
      {B::normed, times(sizes.home, hidden, element)},
      {B::gathered, has_tp * times(sizes.pass, hidden, element)},
      {B::selected, times(sizes.pass, hidden, element)},
      {B::query, times(sizes.pass, attended, element)},
      {B::key, times(sizes.pass, key_value, element)},
      {B::value, times(sizes.pass, key_value, element)},
      {B::cache_key, times(sizes.cache, key_value, element)},
      {B::cache_value, times(sizes.cache, key_value, element)},
      {B::attended, times(sizes.pass, attended, element)},
      {B::attention_partial, times(slices, sizes.pass, hidden, element)},
      {B::reduce_received, times(reduction_shards, reduce_rows, hidden, element)},
      {B::router_logits, times(sizes.home, spec.num_experts, 4)},
      {B::expert_ids, times(copies, 4)},
      {B::kept_ids, has_capacity * times(copies, 4)},
      {B::stage_expert_ids,
       has_capacity * times(request.extents.max_microbatch_tokens, spec.top_k, 4)},
      {B::gate_weights, times(copies, 4)},
      {B::send_order, times(copies, 4)},
      {B::send_position, times(copies, 4)},
      {B::counts, times(grid.ep, grid.tp, spec.num_experts, 4)},
      {B::sent, times(copies, hidden, element)},
      {B::received, has_ep * times(sizes.round, hidden, element)},
      {B::exchanged, has_tp * times(sizes.round, hidden, element)},
      {B::expert_order, has_peers * times(sizes.round, 4)},
      {B::exchange_order, has_peers * times(sizes.round, 4)},
      {B::expert_rows, has_peers * times(sizes.round, hidden, element)},
      {B::gate, has_gate * times(inner, element)},
      {B::up, times(inner, element)},
      {B::activated, times(inner, element)},
      {B::expert_partial, times(slices, std::max(sizes.round, dense_rows), hidden, element)},
      {B::expert_reduced, times(sizes.round, hidden, element)},
      {B::returned, has_ep * times(copies, hidden, element)},
      {B::head_normed, times(sizes.head_chunk, hidden, element)},
      {B::head_logits, times(sizes.head_chunk, sizes.vocabulary, 4)},
      {B::head_stats, stats / grid.tp},
      {B::head_stats_all, has_tp * stats},
      {B::head_top, tops},
      {B::head_top_all, has_tp * grid.tp * tops},
      {B::token_ids, times(sizes.pass, 4)},
      {B::positions, times(sizes.pass, 4)},
      {B::finite_flags, times(sizes.home, 4)},
  };
  for (BufferPlan& buffer : table)
    buffer.bytes =
        base::round_up(base::checked_add(buffer.bytes, alignment) - alignment, alignment);
  return table;
}

/// Bytes of one weight [outputs, inputs] as the backend packs it, or dense without a backend.
std::int64_t packed_bytes(const ModelSpec& spec, const MemoryRequest& request, std::int64_t outputs,
                          std::int64_t inputs) {
  return request.packed_bytes ? request.packed_bytes(outputs, inputs)
                              : times(outputs, inputs, base::size_of(spec.dtype));
}

/// Bytes of a shard once it is packed for products: one packed weight for each expert; for
/// row-parallel tensors (o, down) one for each expert and reduction shard.
std::int64_t matrix_bytes(const TensorSpec& tensor, const Shard& shard, const ModelSpec& spec,
                          const MemoryRequest& request) {
  const std::int64_t rows =
      tensor.slice_rows(shard.slices.end - 1).end - tensor.slice_rows(shard.slices.begin).begin;
  if (tensor.kind().cut != Cut::inputs)
    return times(shard.experts.size(), packed_bytes(spec, request, rows, tensor.columns()));
  const std::int64_t slices = shard.slices.size();
  return times(shard.experts.size(), slices,
               packed_bytes(spec, request, tensor.columns(), rows / slices));
}

bool is_vector(const TensorSpec& tensor) {
  return tensor.shape.size() == 1;
}

/// Bytes of a tensor on this rank. A stage that needs tied embeddings both as rows to look up and
/// for the head's product holds them twice.
std::int64_t held_bytes(const TensorSpec& tensor, const Shard& shard, const ModelSpec& spec,
                        const Held& held, const MemoryRequest& request) {
  if (!is_held(tensor, spec, held)) return 0;
  if (is_vector(tensor)) return shard_bytes(tensor, shard);
  if (tensor.kind().site != Site::embedding) return matrix_bytes(tensor, shard, spec, request);
  const bool is_packed = spec.tied_embeddings && held.head;
  return (held.embed ? shard_bytes(tensor, shard) : 0) +
         (is_packed ? matrix_bytes(tensor, shard, spec, request) : 0);
}

/// The number of this stage's layers whose keys are read. The deepest layer's keys are not read
/// when neither its output nor its routing is wanted.
std::int64_t num_cached_layers(const ModelSpec& spec, const Held& held, const Depth& depth) {
  const std::int64_t deepest = depth.num_layers - 1;
  const bool is_asked =
      depth.rows != RowsWanted::none || (depth.has_routing && deepest >= 0 && spec.is_moe[deepest]);
  return held.layers.size() - (held.layers.contains(deepest) && !is_asked ? 1 : 0);
}

}  // namespace

std::string_view name_of(BufferName buffer) {
  base::expects(buffer < BufferName::num_buffers, "a buffer of the workspace");
  return buffer_names[static_cast<std::size_t>(buffer)];
}

std::int64_t MemoryPlan::workspace_bytes() const {
  std::int64_t sum = 0;
  for (const BufferPlan& buffer : workspace)
    sum = base::checked_add(sum, buffer.bytes);
  return sum;
}

std::int64_t MemoryPlan::passing_bytes() const {
  return table_bytes + workspace_bytes() + outbox_bytes + likely_bytes + writer_bytes;
}

std::int64_t MemoryPlan::total_bytes() const {
  return weight_bytes + label_bytes + id_bytes +
         std::max({loading_bytes, passing_bytes(), results_bytes});
}

std::int64_t MemoryPlan::needed_bytes() const {
  return weight_bytes + label_bytes + id_share +
         std::max({loading_bytes, passing_bytes(), results_share});
}

std::string to_string(const MemoryPlan& memory, std::int64_t compared_with) {
  const auto text_of = [&](std::int64_t bytes) {
    return compared_with > 0 ? base::bytes_text(bytes, compared_with) : base::bytes_text(bytes);
  };
  std::string text = fmt::format("weights {}", text_of(memory.weight_bytes));
  const auto add = [&](const char* name, std::int64_t bytes) {
    if (bytes > 0) text += fmt::format(", {} {}", name, text_of(bytes));
  };
  add("ids and lengths", memory.label_bytes + memory.id_share);
  const std::int64_t passing = memory.passing_bytes();
  if (passing >= std::max(memory.loading_bytes, memory.results_share)) {
    add("workspace", memory.workspace_bytes());
    add("RoPE tables", memory.table_bytes);
    add("rows to send", memory.outbox_bytes);
    add("topk candidates", memory.likely_bytes);
    add("buffers of the writer", memory.writer_bytes);
  } else if (memory.results_share >= memory.loading_bytes) {
    add("at the end, after the workspace is freed, for writing results", memory.results_share);
    if (memory.results_bytes > memory.results_share)
      text +=
          fmt::format(" ({} on rank 0, of all ranks of its node)", text_of(memory.results_bytes));
  } else {
    add("at the start, before the workspace is allocated, for reading weights",
        memory.loading_bytes);
  }
  return text;
}

namespace {

/// Host bytes of the rank that writes: one piece as received, one piece put together from the
/// columns of all tp ranks, and expert ids converted to the type in the results.
std::int64_t gathered_bytes(const ModelSpec& spec, const MemoryRequest& request) {
  const Outputs& outputs = request.outputs;
  const Extents& extents = request.extents;
  const auto piece = [](bool is_wanted, std::int64_t rows, std::int64_t row_bytes) {
    const std::int64_t most = std::max(row_bytes, piece_bytes / row_bytes * row_bytes);
    return is_wanted ? std::min(most, times(rows, row_bytes)) : 0;
  };
  const std::int64_t element = base::size_of(spec.dtype), rows = extents.max_pass_tokens;
  const std::int64_t columns =
      std::max(piece(outputs.kv, rows, spec.num_kv_heads * spec.head_size * element),
               piece(outputs.last_logits, extents.max_part_sequences, spec.vocab_size * 4));
  const std::int64_t experts =
      piece(outputs.experts && spec.top_k > 0, rows, std::max<std::int64_t>(1, spec.top_k) * 4);
  const std::int64_t whole =
      std::max(experts, piece(outputs.hidden, rows, spec.hidden_size * element));
  return std::max(columns, whole) + columns + experts / 2;
}

}  // namespace

std::int64_t outbox_bytes(const ModelSpec& spec, const Grid& grid, const Place& place,
                          const MemoryRequest& request) {
  if (place.tp == 0 && place.pp == grid.pp - 1) return 0;
  const Outputs& outputs = request.outputs;
  const Extents& extents = request.extents;
  const Held held = held_by(request.depth, grid.pp, place.pp);
  const std::int64_t element = base::size_of(spec.dtype), num_layers = held.layers.size();
  const std::int64_t num_hidden =
      std::ranges::count_if(outputs.hidden_layers, [&](std::int64_t layer) {
        return layer < 0
                   ? held.embed
                   : held.layers.contains(layer) || (layer == spec.num_layers && held.final_norm);
      });
  const std::int64_t kv_heads = base::ceil_div(spec.num_kv_heads, grid.tp);
  const std::int64_t vocabulary = base::ceil_div(spec.vocab_size, grid.tp);
  std::int64_t bytes = 0;
  const auto add = [&](bool is_wanted, std::int64_t rows, std::int64_t count, std::int64_t size) {
    if (is_wanted) bytes = base::checked_add(bytes, times(rows, count, size));
  };
  add(outputs.hidden, extents.max_home_tokens, num_hidden, spec.hidden_size * element);
  add(outputs.kv, extents.max_pass_tokens, num_layers, 2 * kv_heads * spec.head_size * element);
  add(outputs.experts, extents.max_home_tokens, num_layers, spec.top_k * sizeof(std::int32_t));
  add(outputs.last_logits && held.head, extents.max_part_sequences, vocabulary, sizeof(float));
  // The writer receives rows of a pass only when it has reached that pass itself. Meanwhile each
  // later stage can be busy with one pass, and this rank's rows of those passes wait.
  return std::min(most_outbox_bytes, times(grid.pp - place.pp + 1, bytes));
}

std::int64_t tops_of_rank(std::int64_t vocab_size, int tp_size, std::int64_t top_k) {
  return std::min(top_k, base::ceil_div(vocab_size, tp_size));
}

MemoryPlan plan_memory(const ModelSpec& spec, std::int64_t reduction_shards, const Grid& grid,
                       const Place& place, const MemoryRequest& request) {
  const Extents& extents = request.extents;
  check_copies(spec, extents);
  MemoryPlan memory;
  const Held held = held_by(request.depth, grid.pp, place.pp);
  for (const TensorSpec& tensor : tensors_of(spec, reduction_shards))
    memory.weight_bytes += held_bytes(tensor, shard_of(tensor, grid, place), spec, held, request);
  const std::int64_t positions = std::max<std::int64_t>(1, extents.max_sequence_length);
  memory.table_bytes = times(2, positions, spec.rope_dim / 2, 4);
  memory.outbox_bytes = outbox_bytes(spec, grid, place, request);
  memory.label_bytes = request.files.labels;
  memory.loading_bytes = request.files.loading;
  if (place.tp == 0 && place.pp == grid.pp - 1)
    memory.writer_bytes = request.files.writer + gathered_bytes(spec, request);
  if (place == Place{}) {
    memory.id_bytes = request.files.ids;
    memory.results_bytes = request.files.results;
  }
  memory.id_share = base::ceil_div(request.files.ids, request.files.ranks_of_node);
  memory.results_share = base::ceil_div(request.files.results, request.files.ranks_of_node);

  const LocalSizes local = local_sizes(spec, reduction_shards, grid, place);
  // the largest vocabulary slice of all tp ranks, so that every rank computes the same head_chunk
  const std::int64_t vocabulary = base::ceil_div(spec.vocab_size, grid.tp);
  const std::int64_t tops = tops_of_rank(spec.vocab_size, grid.tp, request.top_k_logprobs);
  const std::int64_t head_row_bytes =
      4 * vocabulary + spec.hidden_size * base::size_of(spec.dtype) +
      reduction_shards * stats_bytes + (grid.tp + 1) * tops * top_bytes;
  memory.round_rows = rows_of_round(spec, grid, extents, request.round_factor);
  memory.head_chunk = std::max<std::int64_t>(
      1, std::min(extents.max_pass_tokens, head_piece_bytes / head_row_bytes));
  if (held.head)  // candidates of each tp rank, and the merged ids and log-probs
    memory.likely_bytes = times(memory.head_chunk, grid.tp + 1, request.top_k_logprobs, top_bytes);
  const Sizes sizes{extents.max_pass_tokens,
                    extents.max_home_tokens,
                    memory.round_rows,
                    held.head ? memory.head_chunk : 0,
                    vocabulary,
                    tops,
                    times(num_cached_layers(spec, held, request.depth), extents.max_cache_tokens)};
  try {
    memory.workspace = workspace_of(spec, reduction_shards, grid, local, sizes, request);
    base::checked_add(memory.workspace_bytes(), memory.weight_bytes + memory.label_bytes +
                                                    memory.id_bytes + memory.passing_bytes() -
                                                    memory.workspace_bytes());
  } catch (const base::Refusal&) {
    throw base::Refusal(
        ExitCode::resources,
        fmt::format("a microbatch of {} tokens needs more bytes than 63 bits can count. Use a "
                    "smaller --tokens-per-microbatch.",
                    base::count_text(extents.max_microbatch_tokens)));
  }
  return memory;
}

}  // namespace tetrarch::plan
