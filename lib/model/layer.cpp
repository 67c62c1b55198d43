// SPDX-License-Identifier: Apache-2.0
#include "model/layer.hpp"

#include <algorithm>

#include "model/dense.hpp"
#include "model/experts.hpp"
#include "model/not_finite.hpp"
#include "model/router.hpp"
#include "model/token_exchange.hpp"

namespace tetrarch::model {

LayerReport run_layer(const Context& context, const LayerWeights& weights, const RopeTable& rope,
                      const LayerPlace& place, Workspace& workspace, Observer& observer) {
  attention_step(context, weights, rope, place, workspace, observer);
  const bool has_output = place.rows != plan::RowsWanted::none;
  if (!has_output && !place.needs_routing) return {};
  look_at_attention(context, place.layer, workspace, observer);
  if (!context.spec.is_moe[place.layer]) {
    dense_step(context, weights, workspace);
    look_at_dense(context, place.layer, workspace, observer);
    observer.hidden(place.layer, workspace.pass_rows(), workspace.residual());
    return {};
  }

  const backend::Tensor normed = router_step(context, weights, workspace);
  look_at_router(context, place.layer, normed, workspace, observer);
  observer.experts(place.layer, workspace.routing);
  if (!has_output) return {};
  DispatchRecord record = begin_dispatch(context, normed, workspace);
  const std::int64_t num_rounds = record.num_rounds();
  for (std::int64_t round = 0; round < num_rounds; ++round) {
    const backend::Tensor rows = dispatch_round(context, record, round, workspace);
    const backend::Tensor partial = experts_step(context, weights, rows, workspace);
    return_round(context, record, partial, workspace);
  }
  const backend::Tensor answers = record.answers();
  combine(context, std::move(record), workspace);
  look_at_experts(context, place.layer, answers, workspace, observer);
  observer.hidden(place.layer, workspace.pass_rows(), workspace.residual());
  return {std::max<std::int64_t>(0, num_rounds - 1)};
}

}  // namespace tetrarch::model
