/// One layer: the order of its steps, and nothing else.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/attention.hpp"

namespace tetrarch::model {

/// Rounds of exchange beyond the first that a skewed routing cost; for the report.
struct LayerReport {
  std::int64_t extra_rounds = 0;
};

/// Carries the residual stream of workspace.batch() through one layer, as far as its rows are
/// wanted. Collective over the stage.
LayerReport run_layer(const Context& context, const LayerWeights& weights, const RopeTable& rope,
                      const LayerPlace& place, Workspace& workspace, Observer& observer);

}  // namespace tetrarch::model
