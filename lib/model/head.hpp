/// The end of the model: final norm, logits, log-probabilities.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/context.hpp"
#include "model/weights.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// The outputs of the head that the caller wants.
struct HeadRequest {
  bool logprobs = false;
  bool last_logits = false;
  std::int64_t top_k = 0;  // most likely next tokens of each row; 0: none
};

/// Scores of each row of workspace.pass_rows(), the same on every tp rank. Vectors that were not
/// requested are empty.
struct TokenScores {
  // log p(next token | tokens up to this row); NaN without a next token
  std::vector<float> next_logprob;
  // 1: the next token has the largest logit (of equal ones, the lowest id)
  std::vector<std::uint8_t> is_greedy;
};

/// Receives the logits [runs, local vocabulary] f32 after the last position of these runs of the
/// pass.
using LastLogits =
    std::function<void(std::span<const std::int64_t> runs, const backend::Tensor& logits)>;

/// Receives the most likely next tokens of rows first_row, first_row + 1, ... of the pass: host
/// arrays [rows, top_k] of ids and log-probabilities; highest log-probability first, of equal ones
/// the lower id first.
using LikelyTokens = std::function<void(std::int64_t first_row, std::span<std::uint32_t> ids,
                                        std::span<float> logprobs)>;

/// Receivers of the outputs that are too large to keep for all rows.
struct HeadSinks {
  LastLogits last_logits;
  LikelyTokens likely;
};

/// Applies the final norm to the residual stream. Returns [home, D].
backend::Tensor final_norm_step(const Context& context, const ModelShard& shard,
                                Workspace& workspace);

/// Computes the requested outputs of the pass from its rows [home, D] after the final norm.
///
/// The vocabulary is sharded over tp. Logits are computed only for rows that need them, once, for
/// workspace.head_chunk() rows at a time; larger arrays of logits never exist. Ranks exchange 16
/// bytes per row and vocabulary slice, and 8 bytes per likely token and rank. Log-sum-exp sums the
/// vocabulary slices of the reduction shards by a fixed tree. Collective over tp.
TokenScores head_step(const Context& context, const ModelShard& shard,
                      const backend::Tensor& normed, const HeadRequest& request,
                      const HeadSinks& sinks, Workspace& workspace);

/// log of the sum of exp(logit) over all vocabulary slices (1, 2, 4 or 8, in order), stored as two
/// terms: max + log_sum.
struct LogSumExp {
  double max = 0, log_sum = 0;
  float logprob(float logit) const {
    return static_cast<float>(static_cast<double>(logit) - max - log_sum);
  }
};
LogSumExp log_sum_exp(std::span<const backend::SliceStats> slices);
/// log p of the target token. `owner` is the slice that holds the token.
float log_probability(std::span<const backend::SliceStats> slices, std::int64_t owner);

}  // namespace tetrarch::model
