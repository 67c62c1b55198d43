/// The forward pass through the layers of one pipeline stage. Input and output is the residual
/// stream.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/head.hpp"
#include "model/layer.hpp"
#include "model/observer.hpp"
#include "model/rope_table.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

class Transformer {
 public:
  /// Keeps references to `context` and `shard`, which must outlive it. `layers`: the layers of this
  /// stage that `depth` requires. num_positions: the length of the RoPE table.
  Transformer(const Context& context, const ModelShard& shard, const plan::Depth& depth,
              plan::Range layers, std::int64_t num_positions, backend::Backend& backend);

  /// First stage: computes the residual stream from the token ids.
  void embed(Workspace& workspace, Observer& observer) const;
  /// Computes the layers of the stage on the residual stream. Returns how many rounds of the token
  /// exchange (model/routing.hpp) were needed in addition to one round in each layer.
  std::int64_t run_layers(Workspace& workspace, Observer& observer) const;
  /// Last stage: computes the requested scores from the residual stream.
  TokenScores finish(const HeadRequest& request, Workspace& workspace, Observer& observer) const;

 private:
  const Context& context_;
  const ModelShard& shard_;
  plan::Depth depth_;
  plan::Range layers_;
  RopeTable rope_;
};

}  // namespace tetrarch::model
