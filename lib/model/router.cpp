// SPDX-License-Identifier: Apache-2.0
#include "model/router.hpp"

namespace tetrarch::model {

using base::DType;
using base::Phase;
using plan::BufferName;

backend::Tensor router_step(const Context& context, const LayerWeights& weights,
                            Workspace& workspace) {
  const plan::ModelSpec& spec = context.spec;
  const std::int64_t home = workspace.home().size();

  context.timeline.enter(Phase::norm);
  const backend::Tensor normed =
      workspace.tensor(BufferName::normed, spec.dtype, 1, home, spec.hidden_size);
  context.compute.rms_norm(workspace.residual(), weights.moe_norm.tensor,
                           static_cast<float>(spec.norm_eps), normed);

  context.timeline.enter(Phase::router);
  const backend::Tensor logits =
      workspace.tensor(BufferName::router_logits, DType::f32, 1, home, spec.num_experts);
  product(context, normed, *weights.router, logits);

  Routing& routing = workspace.routing;
  const auto index = [&](BufferName name, std::int64_t rows, std::int64_t columns) {
    return workspace.tensor(name, DType::i32, 1, rows, columns);
  };
  routing.expert_id = index(BufferName::expert_ids, home, spec.top_k);
  routing.gate_weight = workspace.tensor(BufferName::gate_weights, DType::f32, 1, home, spec.top_k);
  routing.order = index(BufferName::send_order, home * spec.top_k, 1);
  routing.position = index(BufferName::send_position, home, spec.top_k);
  const backend::Tensor counts =
      index(BufferName::counts, context.stage.size(), spec.num_experts * spec.top_k);
  routing.count = counts.row_range(context.stage.rank(), 1);
  context.compute.softmax_top_k(logits, spec.router_renorm == plan::RouterRenorm::sum,
                                static_cast<float>(spec.router_scale), routing.expert_id,
                                routing.gate_weight);
  context.compute.group_by_expert(routing.expert_id, routing.order, routing.position,
                                  routing.count);
  return normed;
}

}  // namespace tetrarch::model
