// The tensors of a model, their units, and which units a rank holds.
// SPDX-License-Identifier: Apache-2.0
#include "plan/shard.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"

namespace tetrarch::plan {
namespace {

bool has_experts(const base::Shape& shape) {
  return shape.size() == 3;
}

/// The number of units of k and v. Units are whole heads, so there are at most num_kv_heads.
std::int64_t num_kv_units(const ModelSpec& spec, std::int64_t reduction_shards) {
  return std::min(reduction_shards, spec.num_kv_heads);
}

/// The units that a tp rank holds. With fewer units than tp ranks, neighbouring ranks hold the same
/// one.
Range units_of(std::int64_t num_units, std::int64_t tp_size, std::int64_t tp_rank) {
  if (num_units >= tp_size) return even_range(num_units, tp_size, tp_rank);
  const std::int64_t unit = tp_rank * num_units / tp_size;
  return {unit, unit + 1};
}

class TensorList {
 public:
  TensorList(const ModelSpec& spec, std::int64_t reduction_shards)
      : spec_(spec), shards_(reduction_shards) {}

  void add(Role role, const char* name, base::Shape shape, std::int64_t num_slices) {
    TensorSpec tensor;
    tensor.role = role;
    tensor.layer = layer_;
    tensor.path =
        layer_ < 0 ? fmt::format("/{}", name) : fmt::format("/layers/{:02}/{}", layer_, name);
    tensor.dtype = spec_.dtype;
    tensor.num_experts = has_experts(shape) ? shape.front() : 1;
    tensor.num_slices = num_slices;
    tensor.shape = std::move(shape);
    tensors_.push_back(std::move(tensor));
  }

  void add_layer(int layer) {
    const std::int64_t hidden = spec_.hidden_size;
    const std::int64_t query_rows = spec_.num_heads * spec_.head_size;
    const std::int64_t kv_rows = spec_.num_kv_heads * spec_.head_size;
    const bool is_moe = spec_.is_moe[static_cast<std::size_t>(layer)];
    const base::Shape ffn = is_moe ? base::Shape{spec_.num_experts, spec_.expert_ffn, hidden}
                                   : base::Shape{spec_.dense_ffn, hidden};
    const std::int64_t kv_units = num_kv_units(spec_, shards_);
    layer_ = layer;
    add(Role::attn_norm, "attn_norm", {hidden}, 1);
    add(Role::q, "q", {query_rows, hidden}, shards_);
    add(Role::k, "k", {kv_rows, hidden}, kv_units);
    add(Role::v, "v", {kv_rows, hidden}, kv_units);
    if (spec_.qk_norm == QkNorm::per_head) {
      add(Role::q_norm, "q_norm", {spec_.head_size}, 1);
      add(Role::k_norm, "k_norm", {spec_.head_size}, 1);
    }
    add(Role::o, "o", {query_rows, hidden}, shards_);
    add(Role::moe_norm, "moe_norm", {hidden}, 1);
    if (is_moe) add(Role::router, "router", {spec_.num_experts, hidden}, 1);
    if (spec_.expert_kind == ExpertKind::glu) add(Role::gate, "gate", ffn, shards_);
    add(Role::up, "up", ffn, shards_);
    add(Role::down, "down", ffn, shards_);
    layer_ = -1;
  }

  std::vector<TensorSpec> take() { return std::move(tensors_); }

 private:
  const ModelSpec& spec_;
  std::int64_t shards_;
  int layer_ = -1;
  std::vector<TensorSpec> tensors_;
};

}  // namespace

std::int64_t TensorSpec::rows() const {
  return shape.size() == 1 ? 1 : shape[shape.size() - 2];
}
std::int64_t TensorSpec::columns() const {
  return shape.back();
}

Range TensorSpec::slice_rows(std::int64_t slice) const {
  return even_range(rows(), num_slices, slice);
}

std::int64_t TensorSpec::unit_offset(std::int64_t unit) const {
  base::expects(unit >= 0 && unit < num_units(), "a unit of the tensor");
  const std::int64_t row = unit / num_slices * rows() + slice_rows(unit % num_slices).begin;
  return row * columns() * base::size_of(dtype);
}

std::int64_t TensorSpec::unit_bytes(std::int64_t unit) const {
  base::expects(unit >= 0 && unit < num_units(), "a unit of the tensor");
  return slice_rows(unit % num_slices).size() * columns() * base::size_of(dtype);
}

std::int64_t TensorSpec::bytes() const {
  return base::checked_elements(shape) * base::size_of(dtype);
}

std::vector<TensorSpec> tensors_of(const ModelSpec& spec, std::int64_t reduction_shards) {
  TensorList list(spec, reduction_shards);
  const base::Shape vocabulary{spec.vocab_size, spec.hidden_size};
  list.add(Role::embed, "embed", vocabulary, reduction_shards);
  for (int layer = 0; layer < spec.num_layers; ++layer)
    list.add_layer(layer);
  list.add(Role::final_norm, "final_norm", {spec.hidden_size}, 1);
  if (!spec.tied_embeddings) list.add(Role::head, "head", vocabulary, reduction_shards);
  return list.take();
}

Shard shard_of(const TensorSpec& tensor, const Grid& grid, const Place& place) {
  Shard shard{{0, 1}, {0, 1}};
  if (has_experts(tensor.shape)) shard.experts = even_range(tensor.num_experts, grid.ep, place.ep);
  if (tensor.num_slices > 1) shard.slices = units_of(tensor.num_slices, grid.tp, place.tp);
  return shard;
}

std::int64_t shard_bytes(const TensorSpec& tensor, const Shard& shard) {
  const std::int64_t rows =
      tensor.slice_rows(shard.slices.end - 1).end - tensor.slice_rows(shard.slices.begin).begin;
  return shard.experts.size() * rows * tensor.columns() * base::size_of(tensor.dtype);
}

std::int64_t LocalSizes::vocab_count() const {
  std::int64_t count = 0;
  for (const Range& range : vocab)
    count += range.size();
  return count;
}

LocalSizes local_sizes(const ModelSpec& spec, std::int64_t reduction_shards, const Grid& grid,
                       const Place& place) {
  const std::int64_t kv_units = num_kv_units(spec, reduction_shards);
  const std::int64_t heads_per_slice = spec.num_heads / reduction_shards;
  const std::int64_t kv_heads_per_unit = spec.num_kv_heads / kv_units;
  const Range units = units_of(kv_units, grid.tp, place.tp);

  LocalSizes local;
  local.slices = even_range(reduction_shards, grid.tp, place.tp);
  local.heads = {local.slices.begin * heads_per_slice, local.slices.end * heads_per_slice};
  local.kv_heads = {units.begin * kv_heads_per_unit, units.end * kv_heads_per_unit};
  local.experts = even_range(spec.num_experts, grid.ep, place.ep);
  for (std::int64_t slice = local.slices.begin; slice < local.slices.end; ++slice)
    local.vocab.push_back(even_range(spec.vocab_size, reduction_shards, slice));
  return local;
}

}  // namespace tetrarch::plan
