/// The objects and settings that every step of the forward pass needs. No step changes them.
///
/// Letters in the comments of this folder: D hidden_size, H num_heads, d head_size, E num_experts,
/// F width of a feed-forward network, V reduction shards, k top_k.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/backend.hpp"
#include "base/timeline.hpp"
#include "plan/shard.hpp"

namespace tetrarch::model {

struct Context {
  const plan::ModelSpec& spec;
  std::int64_t reduction_shards;  // V, see plan/model_spec.hpp
  plan::LocalSizes local;
  backend::Compute& compute;
  backend::Communicator& tp;  // the ranks that hold the same sequences as this rank
  backend::Communicator& ep;  // the ranks that hold the same FFN slices as this rank
  // all ep x tp ranks of this pipeline stage of the instance; tp varies fastest
  backend::Communicator& stage;
  base::Timeline& timeline;
  double capacity_factor = 0;  // 0: no copies are dropped
};

/// y = x w^T. Adds the floating-point operations to the timeline.
inline void product(const Context& context, const backend::Tensor& x, const backend::Matrix& w,
                    const backend::Tensor& y) {
  context.compute.gemm(x, w, y);
  context.timeline.add_flops(2ull * x.rows * w.outputs() * w.inputs());
}

}  // namespace tetrarch::model
