// SPDX-License-Identifier: Apache-2.0
#include "model/weights.hpp"

#include <algorithm>
#include <cstring>

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

std::int64_t ShardBuilder::num_rows(const plan::TensorSpec& tensor) const {
  if (tensor.num_slices == 1) return tensor.rows();
  switch (tensor.kind().cut) {
    case plan::Cut::vocabulary:
      return local_.vocab_count();
    case plan::Cut::kv_heads:
      return local_.kv_heads.size() * spec_.head_size;
    default:
      return tensor.rows() / tensor.num_slices * local_.slices.size();
  }
}

void ShardBuilder::target_ffn(const plan::TensorSpec& tensor, std::int64_t expert, Target& target) {
  LayerWeights& layer = shard_.layers.at(tensor.layer);
  const bool is_moe = spec_.is_moe[tensor.layer];
  const std::int64_t local_expert = expert - local_.experts.begin;
  if (tensor.role == Role::gate) {
    target.matrices = {is_moe ? &layer.gate.at(local_expert) : &layer.dense_gate};
  } else if (tensor.role == Role::up) {
    target.matrices = {is_moe ? &layer.up.at(local_expert) : &layer.dense_up};
  } else {
    target.order = backend::WeightOrder::kn;
    for (std::int64_t slice = 0; slice < local_.slices.size(); ++slice)
      target.matrices.push_back(is_moe ? &layer.down[slice].at(local_expert)
                                       : &layer.dense_down.at(slice));
  }
}

// Where the bytes of a tensor of the attention go. The product with `o` is summed over reduction
// shards: `o` is cut along its inputs into these shards, and each of them is a matrix of its own.
void ShardBuilder::target_attention(const plan::TensorSpec& tensor, Target& target) {
  LayerWeights& layer = shard_.layers.at(tensor.layer);
  if (tensor.role == Role::q) target.matrices = {&layer.q};
  if (tensor.role == Role::k) target.matrices = {&layer.k};
  if (tensor.role == Role::v) target.matrices = {&layer.v};
  if (tensor.role == Role::attn_norm) target.vector = &layer.attn_norm;
  if (tensor.role == Role::q_norm) target.vector = &layer.q_norm;
  if (tensor.role == Role::k_norm) target.vector = &layer.k_norm;
  if (tensor.role != Role::o) return;
  target.order = backend::WeightOrder::kn;
  for (auto& slice : layer.o)
    target.matrices.push_back(&slice);
}

ShardBuilder::Target ShardBuilder::target_of(const plan::TensorSpec& tensor, std::int64_t expert) {
  Target target;
  target.path = tensor.path;
  target.expert = expert;
  target.num_rows = num_rows(tensor);
  target.columns = tensor.columns();
  switch (tensor.role) {
    case Role::embed:
      if (held_.embed) target.vector = &shard_.embed;
      if (held_.head && spec_.tied_embeddings) target.matrices = {&shard_.head};
      break;
    case Role::head:
      target.matrices = {&shard_.head};
      break;
    case Role::final_norm:
      target.vector = &shard_.final_norm;
      break;
    case Role::moe_norm:
      target.vector = &shard_.layers.at(tensor.layer).moe_norm;
      break;
    case Role::router:
      target.matrices = {&shard_.layers.at(tensor.layer).router};
      break;
    case Role::gate:
    case Role::up:
    case Role::down:
      target_ffn(tensor, expert, target);
      break;
    default:
      target_attention(tensor, target);
  }
  if (target.vector == nullptr) return target;
  const std::int64_t rows = target.num_rows, columns = target.columns;
  target.vector->memory = backend_.allocate(rows * columns * base::size_of(spec_.dtype));
  target.vector->tensor = {target.vector->memory->data(), spec_.dtype, 1, rows, columns};
  return target;
}

/// Packs rows of the open target into its matrices, one matrix after another.
void ShardBuilder::pack_rows(const std::byte* host, std::int64_t count) {
  Target& target = *open_;
  const std::int64_t rows_of_each = target.num_rows / std::ssize(target.matrices);
  const std::int64_t row_bytes = target.columns * base::size_of(spec_.dtype);
  for (std::int64_t row = target.rows_done, end = row + count; row < end;) {
    const std::int64_t number = row / rows_of_each;
    const std::int64_t some = std::min(end, (number + 1) * rows_of_each) - row;
    const bool is_nk = target.order == backend::WeightOrder::nk;
    if (!target.builder)
      target.builder =
          backend_.compute().build_matrix(spec_.dtype, is_nk ? rows_of_each : target.columns,
                                          is_nk ? target.columns : rows_of_each, target.order);
    target.builder->add(host, some);
    host += some * row_bytes;
    row += some;
    if (row % rows_of_each != 0) continue;
    *target.matrices[number] = target.builder->take();
    target.builder.reset();
  }
}

void ShardBuilder::add_rows(const std::byte* host, std::int64_t count) {
  Target& target = *open_;
  base::expects(target.rows_done + count <= target.num_rows, "as many bytes as the tensor has");
  if (count > 0 && target.vector != nullptr)
    backend_.compute().upload(host, target.vector->tensor.row_range(target.rows_done, count));
  if (!target.matrices.empty()) pack_rows(host, count);
  target.rows_done += count;
}

void ShardBuilder::add(const plan::TensorSpec& tensor, std::int64_t expert,
                       std::span<const std::byte> host) {
  if (!open_) open_ = target_of(tensor, expert);
  base::expects(open_->path == tensor.path && open_->expert == expert,
                "all bytes of one tensor before those of another");
  const auto row_bytes = static_cast<std::size_t>(open_->columns * base::size_of(spec_.dtype));
  if (!cut_row_.empty()) {
    const auto rest = host.first(std::min(row_bytes - cut_row_.size(), host.size()));
    const std::size_t num_before = cut_row_.size();
    cut_row_.resize(num_before + rest.size());
    std::memcpy(cut_row_.data() + num_before, rest.data(), rest.size());
    host = host.subspan(rest.size());
    if (cut_row_.size() < row_bytes) return;
    add_rows(cut_row_.data(), 1);
    cut_row_.clear();
  }
  const std::size_t whole = host.size() / row_bytes;
  add_rows(host.data(), static_cast<std::int64_t>(whole));
  host = host.subspan(whole * row_bytes);
  cut_row_.assign(host.begin(), host.end());
  if (open_->rows_done == open_->num_rows) open_.reset();
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
  bool complete = !open_ && (shard_.embed.memory || !held_.embed) &&
                  (shard_.final_norm.memory || !held_.final_norm) && (shard_.head || !held_.head);
  for (std::int64_t layer = held_.layers.begin; layer < held_.layers.end; ++layer)
    complete = complete && is_complete(layer);
  base::expects(complete, "every weight of the shard to be loaded");
  return std::move(shard_);
}

}  // namespace tetrarch::model
