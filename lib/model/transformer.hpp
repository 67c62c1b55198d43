/// The forward pass over a range of layers; the residual stream goes in and comes out.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/head.hpp"
#include "model/layer.hpp"
#include "model/rope_table.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// Sees what passes by. Called on every rank of the stage, in the same order.
class Observer {
 public:
  virtual ~Observer() = default;
  /// The residual stream [home, D] after a layer; layer -1: the embedding; num_layers: after the
  /// final norm.
  virtual void hidden(std::int64_t layer, const backend::Tensor& home) = 0;
  /// The chosen experts [home, k] i32 of a layer.
  virtual void experts(std::int64_t layer, const backend::Tensor& expert_id) = 0;
  /// Logits after the last position of sequences, see LastLogits.
  virtual void last_logits(std::int64_t first_run, const backend::Tensor& logits) = 0;
  /// [home, 1] i32: 1 where the last residual stream is finite.
  virtual void finite(const backend::Tensor& flag) = 0;
};

class Transformer {
 public:
  /// Holds references; all of them outlive it. Tables reach `num_positions`.
  Transformer(const Context& context, const ModelShard& shard, std::int64_t num_positions,
              backend::Backend& backend);

  /// First stage: tokens -> residual stream.
  void embed(Workspace& workspace, Observer& observer) const;
  /// Layers [layers.begin, layers.end) on the residual stream. Returns extra exchange rounds.
  std::int64_t run_layers(plan::Range layers, Workspace& workspace, Observer& observer) const;
  /// Last stage: residual stream -> scores.
  TokenScores finish(const HeadRequest& request, Workspace& workspace, Observer& observer) const;

 private:
  const Context& context_;
  const ModelShard& shard_;
  RopeTable rope_;
};

}  // namespace tetrarch::model
