// SPDX-License-Identifier: Apache-2.0
#include "model/transformer.hpp"

#include "model/attention.hpp"
#include "model/embedding.hpp"

namespace tetrarch::model {

using base::Phase;

Transformer::Transformer(const Context& context, const ModelShard& shard,
                         std::int64_t num_positions, backend::Backend& backend)
    : context_(context),
      shard_(shard),
      rope_(make_rope_table(context.spec, num_positions, backend)) {}

void Transformer::embed(Workspace& workspace, Observer& observer) const {
  context_.timeline.enter(Phase::embed);
  embed_tokens(context_, shard_, workspace);
  observer.hidden(-1, workspace.residual());
}

std::int64_t Transformer::run_layers(plan::Range layers, Workspace& workspace,
                                     Observer& observer) const {
  upload_positions(context_, workspace);
  std::int64_t extra_rounds = 0;
  for (std::int64_t layer = layers.begin; layer < layers.end; ++layer) {
    context_.timeline.begin_layer(static_cast<std::int32_t>(layer));
    extra_rounds += run_layer(context_, shard_.layers[layer], rope_, layer, workspace).extra_rounds;
    observer.experts(layer, workspace.routing.expert_id);
    observer.hidden(layer, workspace.residual());
  }
  context_.timeline.begin_layer(-1);
  return extra_rounds;
}

TokenScores Transformer::finish(const HeadRequest& request, Workspace& workspace,
                                Observer& observer) const {
  const backend::Tensor normed = final_norm_step(context_, shard_, workspace);
  observer.hidden(context_.spec.num_layers, normed);
  const backend::Tensor flag = workspace.tensor(plan::BufferName::finite_flags, base::DType::i32, 1,
                                                workspace.home().size(), 1);
  context_.compute.row_is_finite(workspace.residual(), flag);
  observer.finite(flag);
  return head_step(
      context_, shard_, normed, request,
      [&](std::int64_t first_run, const backend::Tensor& logits) {
        observer.last_logits(first_run, logits);
      },
      workspace);
}

}  // namespace tetrarch::model
