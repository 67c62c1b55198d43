/// The feed-forward networks of the experts that this rank holds slices of.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

backend::ActivationKind kind_of(plan::Activation activation);

/// down(act(gate x) * up x), or with expert kind mlp down(act(up x)), of rows grouped by local
/// expert.
/// rows     [n, D]; workspace.exchange.round.expert_offset has the first row of each expert
/// returns  [local slices][n][D], one partial product per reduction shard
backend::Tensor experts_step(const Context& context, const LayerWeights& weights,
                             const backend::Tensor& rows, Workspace& workspace);

}  // namespace tetrarch::model
