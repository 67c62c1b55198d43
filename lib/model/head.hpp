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
  std::int64_t top_k = 0;  // most likely next tokens of each row; 0: none
};

/// Per row of workspace.batch(), on every tp rank; a vector that was not asked for is empty.
struct TokenScores {
  std::vector<float> next_logprob;  // log p(the next token | up to this row); NaN where it has none
  std::vector<std::uint8_t> is_greedy;  // 1: the next token had the largest logit (ties: lower id)
};

/// Logits [runs, local vocabulary] f32 after the last position of these runs of the batch.
using LastLogits =
    std::function<void(std::span<const std::int64_t> runs, const backend::Tensor& logits)>;

/// The likeliest next tokens of rows first_row, first_row + 1, ... of the batch: [rows, top_k] host
/// ids and log-probabilities, by falling log-probability, then rising id.
using LikelyTokens = std::function<void(std::int64_t first_row, std::span<std::uint32_t> ids,
                                        std::span<float> logprobs)>;

/// Who takes what is too large to keep for all rows.
struct HeadSinks {
  LastLogits last_logits;
  LikelyTokens likely;
};

/// Norms the last residual stream; [home, D].
backend::Tensor final_norm_step(const Context& context, const ModelShard& shard,
                                Workspace& workspace);

/// Scores the batch from its final-normed rows [home, D].
///
/// The vocabulary is sharded over tp. The logits of a row are computed once, if it is wanted at
/// all, and exist for head_chunk rows at a time; between ranks travel 16 bytes per row and
/// vocabulary slice, and 8 per likely token and rank. Log-sum-exp goes over the reduction shards'
/// vocabulary slices in a fixed tree. Collective over tp.
TokenScores head_step(const Context& context, const ModelShard& shard,
                      const backend::Tensor& normed, const HeadRequest& request,
                      const HeadSinks& sinks, Workspace& workspace);

/// log of the sum of exp(logit) over all vocabulary slices, in slice order (1, 2, 4 or 8), as the
/// sum of two numbers.
struct LogSumExp {
  double max = 0, log_sum = 0;
  float logprob(float logit) const {
    return static_cast<float>(static_cast<double>(logit) - max - log_sum);
  }
};
LogSumExp log_sum_exp(std::span<const backend::SliceStats> slices);
/// log p of the target. `owner`: the slice that holds it.
float log_probability(std::span<const backend::SliceStats> slices, std::int64_t owner);

}  // namespace tetrarch::model
