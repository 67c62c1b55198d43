/// What every step of the forward pass needs and none of them changes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/backend.hpp"
#include "base/timeline.hpp"
#include "plan/shard.hpp"

namespace tetrarch::model {

struct Context {
  const plan::ModelSpec& spec;
  std::int64_t reduction_shards;  // V
  plan::LocalSizes local;
  backend::Compute& compute;
  backend::Communicator& tp;     // the ranks that share this rank's tokens
  backend::Communicator& ep;     // the ranks that share this rank's FFN slices
  backend::Communicator& stage;  // all ep x tp ranks of the instance's stage; tp varies fastest
  base::Timeline& timeline;
  double capacity_factor = 0;  // 0: no copy of a token is dropped
};

/// y = x w^T with its useful work written down.
inline void product(const Context& context, const backend::Tensor& x, const backend::Matrix& w,
                    const backend::Tensor& y) {
  context.compute.gemm(x, w, y);
  context.timeline.add_flops(2ull * x.rows * w.outputs() * w.inputs());
}

}  // namespace tetrarch::model
