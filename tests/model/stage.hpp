/// The ranks of one stage with a small model: the objects that the steps of a layer need.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "backends_at_hand.hpp"
#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"
#include "mpi/world.hpp"
#include "plan/memory.hpp"

namespace tetrarch::model {

/// A small model. All sizes differ as far as possible; the vocabulary size is not a multiple of the
/// 4 shards.
inline plan::ModelSpec small_spec(base::DType dtype = base::DType::f32) {
  plan::ModelSpec spec;
  spec.dtype = dtype;
  spec.vocab_size = 37;
  spec.num_layers = 1;
  spec.hidden_size = 16;
  spec.max_position = 64;
  spec.num_heads = 8;
  spec.num_kv_heads = 4;
  spec.head_size = 4;
  spec.num_experts = 8;
  spec.top_k = 2;
  spec.expert_ffn = 24;
  plan::set_derived(spec);
  return spec;
}

/// Every grid (ep, tp) that these ranks can form with 8 experts and 4 reduction shards.
inline std::vector<plan::Grid> grids_of(int ranks) {
  std::vector<plan::Grid> grids;
  for (const int tp : {1, 2, 4})
    if (ranks % tp == 0 && 8 % (ranks / tp) == 0) grids.push_back({1, 1, ranks / tp, tp});
  return grids;
}

/// The depth for all outputs: all layers and all rows are needed.
inline plan::Depth whole_depth(const plan::ModelSpec& spec) {
  return {spec.num_layers, plan::RowsWanted::all, false, true, true};
}

/// The objects of one stage, on the backend that the running test is for (backends_at_hand.hpp).
/// Collective over all ranks of the test.
struct Stage {
  static constexpr std::int64_t reduction_shards = 4;

  Stage(const plan::ModelSpec& model, const plan::Grid& layout)
      : spec(model),
        grid(layout),
        place(plan::place_of(grid, world.rank())),
        tp(backend->make_communicator(along_tp(), "tp")),
        ep(backend->make_communicator(along_ep(), "ep")),
        all(backend->make_communicator(mpi::ranks_up_to(world.size()), "stage")) {}

  std::vector<int> along_tp() const {
    std::vector<int> ranks;
    for (int t = 0; t < grid.tp; ++t)
      ranks.push_back(plan::rank_of(grid, {place.dp, place.pp, place.ep, t}));
    return ranks;
  }
  std::vector<int> along_ep() const {
    std::vector<int> ranks;
    for (int e = 0; e < grid.ep; ++e)
      ranks.push_back(plan::rank_of(grid, {place.dp, place.pp, e, place.tp}));
    return ranks;
  }
  /// `part_tokens`: number of tokens of each EP rank.
  plan::MemoryPlan memory(const std::vector<std::int64_t>& part_tokens, double round_factor) const {
    plan::Extents extents;
    extents.max_microbatch_tokens =
        std::accumulate(part_tokens.begin(), part_tokens.end(), std::int64_t{0});
    extents.max_pass_tokens = *std::max_element(part_tokens.begin(), part_tokens.end());
    extents.max_home_tokens = (extents.max_pass_tokens + grid.tp - 1) / grid.tp;
    extents.max_sequence_length = extents.max_cache_tokens = extents.max_pass_tokens;
    return plan::plan_memory(spec, reduction_shards, grid, place,
                             {extents, whole_depth(spec), spec.vocab_size, true, round_factor});
  }

  mpi::Communicator world = mpi::everyone();
  std::unique_ptr<backend::Backend> backend = backend::EachBackend::GetParam().make(world);
  plan::ModelSpec spec;
  plan::Grid grid;
  plan::Place place;
  std::unique_ptr<backend::Communicator> tp, ep, all;
  base::Timeline timeline;
  Context context{spec,
                  reduction_shards,
                  plan::local_sizes(spec, reduction_shards, grid, place),
                  backend->compute(),
                  *tp,
                  *ep,
                  *all,
                  timeline};
};

/// The value of an element of a weight, by its position in the whole tensor (or expert).
using WeightValue = std::function<float(const plan::TensorSpec&, std::int64_t expert,
                                        std::int64_t row, std::int64_t column)>;

inline std::vector<std::byte> to_bytes(const std::vector<float>& values, base::DType dtype) {
  std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(base::size_of(dtype)));
  if (dtype == base::DType::f32) {
    std::copy_n(reinterpret_cast<const std::byte*>(values.data()), bytes.size(), bytes.begin());
  } else {
    base::to_bf16(values, {reinterpret_cast<base::bf16*>(bytes.data()), values.size()});
  }
  return bytes;
}

/// The bytes of this rank's shard of one expert of a tensor.
inline std::vector<std::byte> local_bytes(const plan::TensorSpec& tensor, const plan::Shard& shard,
                                          std::int64_t expert, const WeightValue& value) {
  std::vector<float> values;
  for (std::int64_t row = tensor.slice_rows(shard.slices.begin).begin;
       row < tensor.slice_rows(shard.slices.end - 1).end; ++row)
    for (std::int64_t column = 0; column < tensor.columns(); ++column)
      values.push_back(value(tensor, expert, row, column));
  return to_bytes(values, tensor.dtype);
}

inline ModelShard make_shard(const Stage& stage, const WeightValue& value) {
  ShardBuilder builder(stage.spec, stage.context.local,
                       plan::held_by(whole_depth(stage.spec), 1, 0), *stage.backend);
  for (const plan::TensorSpec& tensor : plan::tensors_of(stage.spec, Stage::reduction_shards)) {
    const plan::Shard shard = plan::shard_of(tensor, stage.grid, stage.place);
    for (std::int64_t expert = shard.experts.begin; expert < shard.experts.end; ++expert)
      builder.add(tensor, expert, local_bytes(tensor, shard, expert, value));
  }
  return builder.take();
}

/// A pass with one whole sequence for each length; not yet spread over tp ranks.
inline PassRows pass_rows_of(const std::vector<std::int64_t>& lengths,
                             std::vector<std::int32_t> tokens) {
  PassRows pass_rows;
  for (const std::int64_t length : lengths)
    pass_rows.rows.push_back({std::ssize(pass_rows.rows), 0, length, length});
  pass_rows.token = std::move(tokens);
  return pass_rows;
}

inline void begin(const Stage& stage, PassRows& pass_rows, Workspace& workspace) {
  spread_evenly(pass_rows, stage.grid.tp);
  workspace.begin(pass_rows, stage.spec.hidden_size, stage.spec.dtype, stage.place.tp);
}

/// Copies the elements of an f32 or bf16 tensor to the host, as f32.
inline std::vector<float> floats_of(const Stage& stage, const backend::Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  if (tensor.dtype == base::DType::f32) {
    stage.context.compute.download(tensor, values.data());
  } else {
    std::vector<base::bf16> halves(values.size());
    stage.context.compute.download(tensor, halves.data());
    base::to_float(halves, values);
  }
  return values;
}
inline std::vector<std::int32_t> integers_of(const Stage& stage, const backend::Tensor& tensor) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(tensor.elements()));
  stage.context.compute.download(tensor, values.data());
  return values;
}
inline void put(const Stage& stage, const std::vector<float>& values,
                const backend::Tensor& tensor) {
  base::expects(std::ssize(values) == tensor.elements(), "a value per element");
  stage.context.compute.upload(to_bytes(values, tensor.dtype).data(), tensor);
}

}  // namespace tetrarch::model
