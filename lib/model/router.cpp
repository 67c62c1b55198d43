// SPDX-License-Identifier: Apache-2.0
#include "model/router.hpp"

#include <algorithm>

#include "model/capacity.hpp"

namespace tetrarch::model {

using base::DType;
using base::Phase;
using plan::BufferName;

namespace {

/// Drops the choices beyond the capacity of the experts and returns the others; sets
/// routing.num_copies and num_dropped. Waits for the choices of all ranks. Collective over the
/// stage.
backend::Tensor drop_copies(const Context& context, Workspace& workspace) {
  const PassRows& pass_rows = workspace.pass_rows();
  const std::int64_t top_k = context.spec.top_k, num_experts = context.spec.num_experts;
  const std::int64_t tokens = std::ssize(pass_rows.stage_place);
  Routing& routing = workspace.routing;
  const backend::Tensor all =
      workspace.tensor(BufferName::stage_expert_ids, DType::i32, 1, tokens, top_k);
  context.stage.all_gather_v(routing.expert_id, pass_rows.stage_count, all);
  std::vector<std::int32_t> expert_id(all.elements());
  context.compute.download(all, expert_id.data());

  plan::Range own;
  for (int rank = 0; rank <= context.stage.rank(); ++rank)
    own = {own.end, own.end + pass_rows.stage_count[rank]};
  const std::vector<std::int32_t> kept =
      kept_choices(expert_id, pass_rows.stage_place, top_k, num_experts,
                   capacity_of(context.capacity_factor, tokens, top_k, num_experts), own);
  routing.num_dropped = std::ranges::count(kept, -1);
  routing.num_copies = std::ssize(kept) - routing.num_dropped;
  const backend::Tensor ids =
      workspace.tensor(BufferName::kept_ids, DType::i32, 1, own.size(), top_k);
  context.compute.upload(kept.data(), ids);
  return ids;
}

}  // namespace

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
  routing.position = index(BufferName::send_position, home, spec.top_k);
  const backend::Tensor counts = index(BufferName::counts, context.stage.size(), spec.num_experts);
  routing.count = counts.row_range(context.stage.rank(), 1);
  context.compute.softmax_top_k(logits, spec.router_renorm == plan::RouterRenorm::sum,
                                static_cast<float>(spec.router_scale), routing.expert_id,
                                routing.gate_weight);
  routing.num_copies = home * spec.top_k;
  routing.num_dropped = 0;
  const backend::Tensor kept =
      context.capacity_factor > 0 ? drop_copies(context, workspace) : routing.expert_id;
  routing.order = index(BufferName::send_order, routing.num_copies, 1);
  context.compute.group_by_expert(kept, routing.order, routing.position, routing.count);
  return normed;
}

}  // namespace tetrarch::model
