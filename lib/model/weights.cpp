// SPDX-License-Identifier: Apache-2.0
#include "model/weights.hpp"

namespace tetrarch::model {

using plan::Role;

ShardBuilder::ShardBuilder(const plan::ModelSpec& spec, const plan::LocalSizes& local,
                           backend::Backend& backend)
    : spec_(spec), local_(local), backend_(backend) {
  shard_.layers.resize(spec.num_layers);
  for (LayerWeights& layer : shard_.layers) {
    if (spec.expert_kind == plan::ExpertKind::glu) layer.gate.resize(local.experts.size());
    layer.up.resize(local.experts.size());
    layer.o.resize(local.slices.size());
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

void ShardBuilder::add(const plan::TensorSpec& tensor, std::int64_t expert,
                       std::span<const std::byte> host) {
  const std::int64_t hidden = spec_.hidden_size;
  if (tensor.role == Role::embed) {
    shard_.embed = make_vector(host, local_.vocab_count(), hidden);
    if (spec_.tied_embeddings) shard_.head = pack_rows(host);
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
  const std::int64_t local_expert = expert - local_.experts.begin;
  switch (tensor.role) {
    case Role::attn_norm:
      layer.attn_norm = make_vector(host, 1, hidden);
      break;
    case Role::moe_norm:
      layer.moe_norm = make_vector(host, 1, hidden);
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

ModelShard ShardBuilder::take() {
  const auto all = [](const Matrices& matrices) {
    for (const auto& matrix : matrices)
      if (!matrix) return false;
    return true;
  };
  bool complete = shard_.embed.memory && shard_.final_norm.memory && shard_.head;
  for (const LayerWeights& layer : shard_.layers) {
    complete = complete && layer.attn_norm.memory && layer.moe_norm.memory && layer.q && layer.k &&
               layer.v && layer.router && all(layer.o) && all(layer.gate) && all(layer.up);
    for (const Matrices& slice : layer.down)
      complete = complete && all(slice);
  }
  base::expects(complete, "every weight of the shard to be loaded");
  return std::move(shard_);
}

}  // namespace tetrarch::model
