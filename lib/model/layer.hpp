/// One layer: the order of its steps, and nothing else.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/rope_table.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// Rounds of exchange beyond the first that a skewed routing cost; for the report.
struct LayerReport {
  std::int64_t extra_rounds = 0;
};

/// Carries the residual stream of workspace.batch() through one layer. Collective over the stage.
LayerReport run_layer(const Context& context, const LayerWeights& weights, const RopeTable& rope,
                      std::int64_t layer, Workspace& workspace);

}  // namespace tetrarch::model
