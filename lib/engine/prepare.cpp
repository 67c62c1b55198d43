// SPDX-License-Identifier: Apache-2.0
#include "engine/prepare.hpp"

#include <algorithm>

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

}  // namespace tetrarch::engine
