/// Finds the first step that produces values that are not finite (NaN or infinity). It looks after
/// each step, while the step's inputs are still in their buffers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

class Observer;

/// The step or weight that turned a finite row into one that is not finite; in the order of the
/// forward pass.
enum class Origin : std::int32_t {
  embedding,
  attention,
  ffn_norm,  // the norm before the router or before a dense layer
  router,
  expert,   // one expert's result for the row
  experts,  // the sum of results that are finite one by one
  dense,
  final_norm,
  head,
  pooling
};

/// The place at which a row of a sequence is first not finite.
struct NotFinite {
  std::int64_t sequence = 0;  // index in input order
  std::int64_t layer = -1;    // -1: before the layers; num_layers: after the layers
  std::int64_t position = 0;
  Origin origin = Origin::embedding;
  std::int32_t number = -1;  // embedding: the token id; expert: the expert id

  /// Compares by layer, step and position. Of all reports about one sequence, the first in this
  /// order is the same on every grid.
  bool comes_before(const NotFinite& other) const;
};

// Each function checks the rows of this rank after a step. It reports to the observer the first row
// of every run that is not finite, even if an earlier step caused it; the earliest report of a
// sequence counts. Local. Waits for the rows.

void look_at_embedding(const Context& context, const Workspace& workspace, Observer& observer);
void look_at_attention(const Context& context, std::int64_t layer, const Workspace& workspace,
                       Observer& observer);
/// normed: [home, D], the input of the router. Its logits must still be in their buffer.
void look_at_router(const Context& context, std::int64_t layer, const backend::Tensor& normed,
                    const Workspace& workspace, Observer& observer);
/// answers: [copies, D], the experts' results, in send order, at the tokens' home.
/// workspace.routing maps copies to rows.
void look_at_experts(const Context& context, std::int64_t layer, const backend::Tensor& answers,
                     const Workspace& workspace, Observer& observer);
/// The rows that dense_step() has normed must still be in their buffer.
void look_at_dense(const Context& context, std::int64_t layer, const Workspace& workspace,
                   Observer& observer);
/// normed: [home, D] after the final norm.
void look_at_final_norm(const Context& context, const backend::Tensor& normed,
                        const Workspace& workspace, Observer& observer);

}  // namespace tetrarch::model
