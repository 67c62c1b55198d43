/// Finds where values first stop being finite, while what made them is still at hand.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

class Observer;

/// What made a row that is not finite of one that was, in the order of the forward pass.
enum class Origin : std::int32_t {
  embedding,
  attention,
  ffn_norm,  // of the rows that go to router and experts, or to a dense layer
  router,
  expert,   // one expert's answer to the row
  experts,  // the sum of answers that are finite each
  dense,
  final_norm,
  head,
  pooling
};

/// A row of a sequence that is not finite, where no earlier step left one.
struct NotFinite {
  std::int64_t sequence = 0;  // in input order
  std::int64_t layer = -1;    // -1: before the layers; num_layers: after them
  std::int64_t position = 0;
  Origin origin = Origin::embedding;
  std::int32_t number = -1;  // the token id of an embedding, the id of an expert

  /// By layer, step and position: the least of a sequence's is the same on every grid.
  bool comes_before(const NotFinite& other) const;
};

// Each looks at this rank's rows after a step, and tells the observer of the first row of every run
// that is not finite, also where an earlier step is to blame: the least of what is told counts.
// Local; waits for the rows.

void look_at_embedding(const Context& context, const Workspace& workspace, Observer& observer);
void look_at_attention(const Context& context, std::int64_t layer, const Workspace& workspace,
                       Observer& observer);
/// normed: [home, D] as the router had them; its logits still stand in their buffer.
void look_at_router(const Context& context, std::int64_t layer, const backend::Tensor& normed,
                    const Workspace& workspace, Observer& observer);
/// answers: [copies, D] in send order, at home; workspace.routing tells whose they are.
void look_at_experts(const Context& context, std::int64_t layer, const backend::Tensor& answers,
                     const Workspace& workspace, Observer& observer);
/// The rows that dense_step normed still stand in their buffer.
void look_at_dense(const Context& context, std::int64_t layer, const Workspace& workspace,
                   Observer& observer);
/// normed: [home, D] after the final norm.
void look_at_final_norm(const Context& context, const backend::Tensor& normed,
                        const Workspace& workspace, Observer& observer);

}  // namespace tetrarch::model
