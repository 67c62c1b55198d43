/// The end of the model: final norm, vocabulary, log-probabilities.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// What the caller wants of the vocabulary.
struct HeadRequest {
  bool logprobs = false;
  bool last_logits = false;
};

/// Per row of the part, on every tp rank. Rows at position 0 of a sequence: NaN and 1.
struct TokenScores {
  std::vector<float> logprob;           // log p(token of this row | the tokens before it)
  std::vector<std::uint8_t> is_greedy;  // 1: that token had the largest logit (ties: the lower id)
};

/// Logits [rows, local vocabulary] f32 after the last position of the part's sequences
/// `first_run`, `first_run` + 1, ...
using LastLogits = std::function<void(std::int64_t first_run, const backend::Tensor& logits)>;

/// Norms the last residual stream; [home, D].
backend::Tensor final_norm_step(const Context& context, const ModelShard& shard,
                                Workspace& workspace);

/// Scores the tokens of the part against final-normed rows [home, D].
///
/// The vocabulary is sharded over tp. Logits exist for head_chunk rows at a time, never for all;
/// between ranks travel 16 bytes per row and vocabulary slice. Log-sum-exp goes over the reduction
/// shards' vocabulary slices in a fixed tree. Collective over tp.
TokenScores head_step(const Context& context, const ModelShard& shard,
                      const backend::Tensor& normed, const HeadRequest& request,
                      const LastLogits& last_logits, Workspace& workspace);

/// log p of the target from the statistics of all vocabulary slices, in slice order (1, 2, 4 or 8).
/// `owner`: the slice that holds the target.
float log_probability(std::span<const backend::SliceStats> slices, std::int64_t owner);

}  // namespace tetrarch::model
