/// The forward pass over the layers of a stage; the residual stream goes in and comes out.
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
  /// Holds references; all of them outlive it. `layers`: those of this stage, out of `depth`.
  /// Tables reach `num_positions`.
  Transformer(const Context& context, const ModelShard& shard, const plan::Depth& depth,
              plan::Range layers, std::int64_t num_positions, backend::Backend& backend);

  /// First stage: tokens -> residual stream.
  void embed(Workspace& workspace, Observer& observer) const;
  /// The stage's layers on the residual stream. Returns extra exchange rounds.
  std::int64_t run_layers(Workspace& workspace, Observer& observer) const;
  /// Last stage: residual stream -> scores.
  TokenScores finish(const HeadRequest& request, Workspace& workspace, Observer& observer) const;

 private:
  const Context& context_;
  const ModelShard& shard_;
  plan::Depth depth_;
  plan::Range layers_;
  RopeTable rope_;
};

}  // namespace tetrarch::model
