// SPDX-License-Identifier: Apache-2.0
#include "model/attention.hpp"

#include "model/row_operations.hpp"

namespace tetrarch::model {

using base::Phase;
using plan::BufferName;

namespace {

/// Floating-point operations of attention: 4 * width for each pair of a query and a key that it
/// attends to (scores and weighted sums).
std::uint64_t attention_flops(const PassRows& pass_rows, std::int64_t width, std::int64_t window) {
  // number of pairs of the queries at positions 0 .. n - 1
  const auto pairs_below = [&](std::int64_t n) {
    const auto count = static_cast<double>(n), limit = static_cast<double>(window);
    if (window == 0 || n <= window) return count * (count + 1) / 2;
    return limit * (limit + 1) / 2 + (count - limit) * limit;
  };
  double pairs = 0;
  for (const SequenceRows& rows : pass_rows.rows)
    pairs += pairs_below(rows.first_position + rows.count) - pairs_below(rows.first_position);
  return static_cast<std::uint64_t>(4.0 * pairs * static_cast<double>(width));
}

backend::Tensor keys_of(const Context& context, const Workspace& workspace, BufferName name,
                        std::int64_t rows) {
  return workspace.tensor(name, context.spec.dtype, 1, rows,
                          context.local.kv_heads.size() * context.spec.head_size);
}

/// The rows of one layer in the KV cache, [cache rows, local kv heads * d].
backend::Tensor cache_of(const Context& context, const Workspace& workspace, BufferName name,
                         std::int64_t stage_layer) {
  const std::int64_t rows = workspace.cache_tokens();
  return keys_of(context, workspace, name, (stage_layer + 1) * rows)
      .row_range(stage_layer * rows, rows);
}

/// Computes keys and values of every row of the pass, and copies those of sequences in chunks to
/// the cache. x: the normed rows [pass, D].
void make_keys(const Context& context, const LayerWeights& weights, const RopeTable& rope,
               const LayerPlace& place, const backend::Tensor& x, const Workspace& workspace,
               Observer& observer) {
  const PassRows& pass_rows = workspace.pass_rows();
  const std::int64_t pass = pass_rows.num_tokens();
  const backend::Tensor key = keys_of(context, workspace, BufferName::key, pass);
  const backend::Tensor value = keys_of(context, workspace, BufferName::value, pass);
  const backend::Tensor positions =
      workspace.tensor(BufferName::positions, base::DType::i32, 1, pass, 1);
  product(context, x, *weights.k, key);
  product(context, x, *weights.v, value);
  norm_heads(context, weights.k_norm, key);
  context.compute.rope(key, context.spec.head_size, positions, rope.cosine.tensor,
                       rope.sine.tensor);
  observer.kv(place.layer, key, value);
  context.timeline.enter(Phase::qkv);
  // this layer computes no attention
  if (place.rows == plan::RowsWanted::none && !place.needs_routing) return;
  std::int64_t row = 0;
  for (const SequenceRows& run : pass_rows.rows) {
    if (run.cache_row >= 0) {
      const std::int64_t at = run.cache_row + run.first_position;
      const auto keep = [&](BufferName name, const backend::Tensor& from) {
        context.compute.copy(
            from.row_range(row, run.count),
            cache_of(context, workspace, name, place.stage_layer).row_range(at, run.count));
      };
      keep(BufferName::cache_key, key);
      keep(BufferName::cache_value, value);
    }
    row += run.count;
  }
}

/// The runs of attention, by where their keys are: among the rows of this pass (fresh) or in the
/// cache.
struct Segments {
  std::vector<backend::Segment> fresh, cached;
};

/// `wanted`: the rows whose attention is computed; `pass`: all rows of the pass.
Segments segments_of(const PassRows& wanted, const PassRows& pass) {
  Segments segments;
  std::int64_t row = 0, key_row = 0;
  auto asking = wanted.rows.begin();
  for (const SequenceRows& run : pass.rows) {
    if (asking != wanted.rows.end() && asking->sequence == run.sequence) {
      const bool is_cached = run.cache_row >= 0;
      (is_cached ? segments.cached : segments.fresh)
          .push_back(
              {row, asking->count, asking->first_position, is_cached ? run.cache_row : key_row});
      row += asking->count;
      ++asking;
    }
    key_row += run.count;
  }
  return segments;
}

/// Computes the attention of the rows of workspace.pass_rows() to the keys of the pass. x: their
/// normed rows. Writes [local slices][rows, heads * d / slices] to the buffer `attended` and
/// returns it.
backend::Tensor attend(const Context& context, const LayerWeights& weights, const RopeTable& rope,
                       const LayerPlace& place, const PassRows& pass, const backend::Tensor& x,
                       const Workspace& workspace) {
  const plan::ModelSpec& spec = context.spec;
  const PassRows& pass_rows = workspace.pass_rows();
  const std::int64_t width = context.local.heads.size() * spec.head_size;
  const std::int64_t slices = context.local.slices.size();
  const backend::Tensor query =
      workspace.tensor(BufferName::query, spec.dtype, 1, pass_rows.num_tokens(), width);
  const backend::Tensor positions =
      workspace.tensor(BufferName::positions, base::DType::i32, 1, pass_rows.num_tokens(), 1);
  product(context, x, *weights.q, query);
  norm_heads(context, weights.q_norm, query);
  context.compute.rope(query, spec.head_size, positions, rope.cosine.tensor, rope.sine.tensor);

  context.timeline.enter(Phase::attention);
  const backend::Tensor attended = workspace.tensor(BufferName::attended, spec.dtype, slices,
                                                    pass_rows.num_tokens(), width / slices);
  const std::int64_t window = spec.window[place.layer];
  const backend::AttentionShape shape{context.local.heads.size(), context.local.kv_heads.size(),
                                      spec.head_size, static_cast<float>(spec.attention_scale),
                                      window};
  const Segments segments = segments_of(pass_rows, pass);
  if (!segments.fresh.empty())
    context.compute.attention(shape, query,
                              keys_of(context, workspace, BufferName::key, pass.num_tokens()),
                              keys_of(context, workspace, BufferName::value, pass.num_tokens()),
                              segments.fresh, attended);
  if (!segments.cached.empty())
    context.compute.attention(
        shape, query, cache_of(context, workspace, BufferName::cache_key, place.stage_layer),
        cache_of(context, workspace, BufferName::cache_value, place.stage_layer), segments.cached,
        attended);
  context.timeline.add_flops(attention_flops(pass_rows, width, window));
  return attended;
}

/// Output projection: residual += the sum of the products of all reduction shards. Collective over
/// tp.
void project(const Context& context, const LayerWeights& weights, const backend::Tensor& attended,
             Workspace& workspace) {
  const std::int64_t hidden = context.spec.hidden_size;
  context.timeline.enter(Phase::o_proj);
  const backend::Tensor partial =
      workspace.tensor(BufferName::attention_partial, context.spec.dtype, attended.slices,
                       workspace.pass_rows().num_tokens(), hidden);
  for (std::int64_t slice = 0; slice < attended.slices; ++slice)
    product(context, attended.slice(slice), *weights.o[slice], partial.slice(slice));

  add_to_residual(context, partial, workspace);
}

/// Reduces the residual stream and workspace.pass_rows() to the wanted rows.
/// returns  those rows of x
backend::Tensor narrow(const Context& context, plan::RowsWanted rows, const backend::Tensor& x,
                       Workspace& workspace) {
  Selection selection = select_rows(workspace.pass_rows(), rows, context.tp.rank());
  const auto count = [](const std::vector<std::int32_t>& of) { return std::ssize(of); };
  const backend::Tensor selected =
      workspace.tensor(BufferName::selected, x.dtype, 1, count(selection.pass), x.columns);
  select(context, workspace, x, selection.pass, selected);
  const backend::Tensor before = workspace.residual();
  workspace.narrow(std::move(selection.pass_rows));
  select(context, workspace, before, selection.home, workspace.residual_next());
  workspace.advance();
  upload_positions(context, workspace);
  return selected;
}

}  // namespace

void attention_step(const Context& context, const LayerWeights& weights, const RopeTable& rope,
                    const LayerPlace& place, Workspace& workspace, Observer& observer) {
  const plan::ModelSpec& spec = context.spec;
  context.timeline.enter(Phase::norm);
  const backend::Tensor normed = workspace.tensor(BufferName::normed, spec.dtype, 1,
                                                  workspace.home().size(), spec.hidden_size);
  context.compute.rms_norm(workspace.residual(), weights.attn_norm.tensor,
                           static_cast<float>(spec.norm_eps), normed);
  context.timeline.enter(Phase::tp_gather);
  backend::Tensor x = gather_pass(context, workspace, normed);

  context.timeline.enter(Phase::qkv);
  make_keys(context, weights, rope, place, x, workspace, observer);
  const bool needs_all = place.rows == plan::RowsWanted::all || place.needs_routing;
  if (!needs_all && place.rows == plan::RowsWanted::none) return;
  backend::Tensor attended;
  if (needs_all) {
    attended = attend(context, weights, rope, place, workspace.pass_rows(), x, workspace);
  } else {
    const PassRows pass = workspace.pass_rows();
    x = narrow(context, place.rows, x, workspace);
    attended = attend(context, weights, rope, place, pass, x, workspace);
  }
  project(context, weights, attended, workspace);
}

}  // namespace tetrarch::model
