// SPDX-License-Identifier: Apache-2.0
#include "engine/prepare.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace tetrarch::engine {

std::vector<backend::WholeWeight> whole_weights(const plan::ModelSpec& spec,
                                                std::int64_t reduction_shards) {
  const std::int64_t shards = reduction_shards, hidden = spec.hidden_size;
  const std::int64_t kv_slices = std::min(shards, spec.num_kv_heads);
  std::vector<backend::WholeWeight> weights = {
      {spec.num_heads * spec.head_size, hidden, shards},        // q
      {spec.num_kv_heads * spec.head_size, hidden, kv_slices},  // k, v
      {hidden, spec.num_heads * spec.head_size / shards, 1},    // o, one reduction shard
      {spec.num_experts, hidden, 1},                            // router
      {spec.expert_ffn, hidden, shards},                        // gate, up
      {hidden, spec.expert_ffn / shards, 1},                    // down, one reduction shard
      {spec.vocab_size, hidden, shards},                        // head
  };
  if (spec.has_dense_layers()) {
    weights.push_back({spec.dense_ffn, hidden, shards});      // gate, up of a dense layer
    weights.push_back({hidden, spec.dense_ffn / shards, 1});  // down, one reduction shard
  }
  return weights;
}

plan::PackedBytes packed_bytes_of(backend::Backend& backend, base::DType dtype) {
  using Shape = std::pair<std::int64_t, std::int64_t>;
  return [&backend, dtype, known = std::map<Shape, std::int64_t>()](std::int64_t outputs,
                                                                    std::int64_t inputs) mutable {
    const auto [at, is_new] = known.try_emplace({outputs, inputs}, 0);
    if (is_new) at->second = backend.compute().packed_bytes(dtype, outputs, inputs);
    return at->second;
  };
}

}  // namespace tetrarch::engine
