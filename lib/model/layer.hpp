/// One layer of the model: calls its steps in order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/attention.hpp"

namespace tetrarch::model {

/// What a layer reports: the number of exchange rounds beyond the first, which skewed routing
/// needs.
struct LayerReport {
  std::int64_t extra_rounds = 0;
};

/// Computes one layer on the residual stream of workspace.pass_rows(), for the rows that `place`
/// wants. Collective over the stage.
LayerReport run_layer(const Context& context, const LayerWeights& weights, const RopeTable& rope,
                      const LayerPlace& place, Workspace& workspace, Observer& observer);

}  // namespace tetrarch::model
