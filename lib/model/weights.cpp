// SPDX-License-Identifier: Apache-2.0
#include "model/weights.hpp"

namespace tetrarch::model {

using plan::Role;

ShardBuilder::ShardBuilder(const plan::ModelSpec& spec, const plan::LocalSizes& local,
                           const plan::Held& held, backend::Backend& backend)
    : spec_(spec), local_(local), held_(held), backend_(backend) {
  shard_.layers.resize(spec.num_layers);
  for (std::size_t number = 0; number < shard_.layers.size(); ++number) {
    LayerWeights& layer = shard_.layers[number];
    layer.o.resize(local.slices.size());
    if (!spec.is_moe[number]) {
      layer.dense_down.resize(local.slices.size());
      continue;
    }
    if (spec.expert_kind == plan::ExpertKind::glu) layer.gate.resize(local.experts.size());
    layer.up.resize(local.experts.size());
    layer.down.resize(local.slices.size());
    for (Matrices& slice : layer.down)
      slice.resize(local.experts.size());
  }
}

Vector ShardBuilder::make_vector(std::span<const std::byte> host, std::int64_t rows,
                                 std::int64_t columns) {
  Vector vector;
  vector.memory = backend_.allocate(static_cast<std::int64_t>(host.size()));
  vector.tensor = {vector.memory->data(), spec_.dtype, 1, rows, columns};
  base::expects(vector.tensor.bytes() == static_cast<std::int64_t>(host.size()),
                "as many bytes as the tensor has");
  backend_.compute().upload(host.data(), vector.tensor);
  return vector;
}

std::unique_ptr<backend::Matrix> ShardBuilder::pack_rows(std::span<const std::byte> host) {
  const std::int64_t row_bytes = spec_.hidden_size * base::size_of(spec_.dtype);
  const std::int64_t rows = static_cast<std::int64_t>(host.size()) / row_bytes;
  return backend_.compute().pack(host.data(), spec_.dtype, rows, spec_.hidden_size,
                                 backend::WeightOrder::nk);
}

// The inputs of a row-parallel product are cut into the reduction shards, each a matrix of its own.
void ShardBuilder::add_sliced(std::span<const std::byte> host, std::int64_t expert,
                              std::int64_t num_experts, std::vector<Matrices>& slices) {
  const std::size_t slice_bytes = host.size() / slices.size();
  const std::int64_t row_bytes = spec_.hidden_size * base::size_of(spec_.dtype);
  for (std::size_t slice = 0; slice < slices.size(); ++slice) {
    slices[slice].resize(num_experts);
    slices[slice][expert] = backend_.compute().pack(
        host.data() + slice * slice_bytes, spec_.dtype, spec_.hidden_size,
        static_cast<std::int64_t>(slice_bytes) / row_bytes, backend::WeightOrder::kn);
  }
}

void ShardBuilder::add_dense(Role role, std::span<const std::byte> host, LayerWeights& layer) {
  if (role == Role::gate) layer.dense_gate = pack_rows(host);
  if (role == Role::up) layer.dense_up = pack_rows(host);
  if (role != Role::down) return;
  std::vector<Matrices> slices(local_.slices.size());
  add_sliced(host, 0, 1, slices);
  for (std::size_t slice = 0; slice < slices.size(); ++slice)
    layer.dense_down[slice] = std::move(slices[slice][0]);
}

void ShardBuilder::add(const plan::TensorSpec& tensor, std::int64_t expert,
                       std::span<const std::byte> host) {
  const std::int64_t hidden = spec_.hidden_size;
  if (tensor.role == Role::embed) {
    if (held_.embed) shard_.embed = make_vector(host, local_.vocab_count(), hidden);
    if (held_.head && spec_.tied_embeddings) shard_.head = pack_rows(host);
    return;
  }
  if (tensor.role == Role::final_norm) {
    shard_.final_norm = make_vector(host, 1, hidden);
    return;
  }
  if (tensor.role == Role::head) {
    shard_.head = pack_rows(host);
    return;
  }

  LayerWeights& layer = shard_.layers.at(tensor.layer);
  const bool is_ffn =
      tensor.role == Role::gate || tensor.role == Role::up || tensor.role == Role::down;
  if (is_ffn && !spec_.is_moe[tensor.layer]) {
    add_dense(tensor.role, host, layer);
    return;
  }
  const std::int64_t local_expert = expert - local_.experts.begin;
  switch (tensor.role) {
    case Role::attn_norm:
      layer.attn_norm = make_vector(host, 1, hidden);
      break;
    case Role::moe_norm:
      layer.moe_norm = make_vector(host, 1, hidden);
      break;
    case Role::q_norm:
      layer.q_norm = make_vector(host, 1, spec_.head_size);
      break;
    case Role::k_norm:
      layer.k_norm = make_vector(host, 1, spec_.head_size);
      break;
    case Role::q:
      layer.q = pack_rows(host);
      break;
    case Role::k:
      layer.k = pack_rows(host);
      break;
    case Role::v:
      layer.v = pack_rows(host);
      break;
    case Role::router:
      layer.router = pack_rows(host);
      break;
    case Role::gate:
      layer.gate.at(local_expert) = pack_rows(host);
      break;
    case Role::up:
      layer.up.at(local_expert) = pack_rows(host);
      break;
    case Role::down:
      add_sliced(host, local_expert, local_.experts.size(), layer.down);
      break;
    case Role::o: {
      std::vector<Matrices> slices(local_.slices.size());
      add_sliced(host, 0, 1, slices);
      for (std::size_t slice = 0; slice < slices.size(); ++slice)
        layer.o[slice] = std::move(slices[slice][0]);
      break;
    }
    case Role::embed:
    case Role::head:
    case Role::final_norm:
      break;
  }
}

bool ShardBuilder::is_complete(std::size_t number) const {
  const LayerWeights& layer = shard_.layers[number];
  const auto all = [](const Matrices& matrices) {
    for (const auto& matrix : matrices)
      if (!matrix) return false;
    return true;
  };
  const bool has_gate = spec_.expert_kind == plan::ExpertKind::glu;
  bool complete = layer.attn_norm.memory && layer.moe_norm.memory && layer.q && layer.k &&
                  layer.v && all(layer.o);
  if (spec_.qk_norm == plan::QkNorm::per_head)
    complete = complete && layer.q_norm.memory && layer.k_norm.memory;
  if (!spec_.is_moe[number])
    return complete && (layer.dense_gate || !has_gate) && layer.dense_up && all(layer.dense_down);
  complete = complete && layer.router && all(layer.gate) && all(layer.up);
  for (const Matrices& slice : layer.down)
    complete = complete && all(slice);
  return complete;
}

ModelShard ShardBuilder::take() {
  bool complete = (shard_.embed.memory || !held_.embed) &&
                  (shard_.final_norm.memory || !held_.final_norm) && (shard_.head || !held_.head);
  for (std::int64_t layer = held_.layers.begin; layer < held_.layers.end; ++layer)
    complete = complete && is_complete(layer);
  base::expects(complete, "every weight of the shard to be loaded");
  return std::move(shard_);
}

}  // namespace tetrarch::model
