// The tensors of a model, their units, and which units a rank holds.
// SPDX-License-Identifier: Apache-2.0
#include "plan/shard.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"

namespace tetrarch::plan {
namespace {

/// The units that a tp rank holds. With fewer units than tp ranks, neighbouring ranks hold the same
/// one.
Range units_of(std::int64_t num_units, std::int64_t tp_size, std::int64_t tp_rank) {
  if (num_units >= tp_size) return even_range(num_units, tp_size, tp_rank);
  const std::int64_t unit = tp_rank * num_units / tp_size;
  return {unit, unit + 1};
}

TensorSpec tensor_of(const TensorKind& kind, const ModelSpec& spec, int layer, base::Shape shape,
                     std::int64_t reduction_shards) {
  TensorSpec tensor;
  tensor.role = kind.role;
  tensor.layer = layer;
  tensor.path =
      layer < 0 ? fmt::format("/{}", kind.name) : fmt::format("/layers/{:02}/{}", layer, kind.name);
  tensor.dtype = spec.dtype;
  tensor.shape = std::move(shape);
  tensor.num_experts = tensor.has_experts() ? tensor.shape.front() : 1;
  tensor.num_slices = num_slices(kind, spec, reduction_shards);
  return tensor;
}

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
  std::vector<TensorSpec> tensors;
  const auto add = [&](Site site, int layer) {
    for (const TensorKind& kind : tensor_table())
      if (kind.site == site)
        if (base::Shape shape = kind.shape(spec, layer); !shape.empty())
          tensors.push_back(tensor_of(kind, spec, layer, std::move(shape), reduction_shards));
  };
  add(Site::embedding, -1);
  for (int layer = 0; layer < spec.num_layers; ++layer)
    add(Site::layer, layer);
  add(Site::final_norm, -1);
  add(Site::head, -1);
  return tensors;
}

Shard shard_of(const TensorSpec& tensor, const Grid& grid, const Place& place) {
  Shard shard{{0, 1}, {0, 1}};
  if (tensor.has_experts()) shard.experts = even_range(tensor.num_experts, grid.ep, place.ep);
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
  const std::int64_t kv_units = num_slices(kind_of(Role::k), spec, reduction_shards);
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
