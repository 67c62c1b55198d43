// SPDX-License-Identifier: Apache-2.0
#include "model/transformer.hpp"

#include "model/embedding.hpp"
#include "model/not_finite.hpp"
#include "model/row_operations.hpp"

namespace tetrarch::model {

using base::Phase;

Transformer::Transformer(const Context& context, const ModelShard& shard, const plan::Depth& depth,
                         plan::Range layers, std::int64_t num_positions, backend::Backend& backend)
    : context_(context),
      shard_(shard),
      depth_(depth),
      layers_(layers),
      rope_(make_rope_table(context.spec, num_positions, backend)) {}

void Transformer::embed(Workspace& workspace, Observer& observer) const {
  context_.timeline.enter(Phase::embed);
  embed_tokens(context_, shard_, workspace);
  look_at_embedding(context_, workspace, observer);
  observer.hidden(-1, workspace.pass_rows(), workspace.residual());
}

std::int64_t Transformer::run_layers(Workspace& workspace, Observer& observer) const {
  upload_positions(context_, workspace);
  std::int64_t extra_rounds = 0;
  for (std::int64_t layer = layers_.begin; layer < layers_.end; ++layer) {
    context_.timeline.begin_layer(static_cast<std::int32_t>(layer));
    LayerPlace place{layer, layer - layers_.begin, plan::RowsWanted::all, false};
    if (layer + 1 == depth_.num_layers) {
      place.rows = depth_.rows;
      place.needs_routing = depth_.has_routing && context_.spec.is_moe[layer];
    }
    extra_rounds +=
        run_layer(context_, shard_.layers[layer], rope_, place, workspace, observer).extra_rounds;
  }
  context_.timeline.begin_layer(-1);
  return extra_rounds;
}

TokenScores Transformer::finish(const HeadRequest& request, Workspace& workspace,
                                Observer& observer) const {
  if (!depth_.has_final) return {};
  const backend::Tensor normed = final_norm_step(context_, shard_, workspace);
  look_at_final_norm(context_, normed, workspace, observer);
  observer.hidden(context_.spec.num_layers, workspace.pass_rows(), normed);
  const HeadSinks sinks{
      [&](std::span<const std::int64_t> runs, const backend::Tensor& logits) {
        observer.last_logits(workspace.pass_rows(), runs, logits);
      },
      [&](std::int64_t first_row, std::span<std::uint32_t> ids, std::span<float> logprobs) {
        observer.likely(workspace.pass_rows(), first_row, ids, logprobs);
      }};
  return head_step(context_, shard_, normed, request, sinks, workspace);
}

}  // namespace tetrarch::model
