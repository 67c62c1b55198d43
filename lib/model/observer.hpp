/// Receives intermediate results of the forward pass. Its functions are called on every rank of the
/// stage, in the same order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "model/not_finite.hpp"
#include "model/pass_rows.hpp"
#include "model/routing.hpp"

namespace tetrarch::model {

class Observer {
 public:
  virtual ~Observer() = default;
  /// The residual stream [home, D] of `pass_rows` after a layer. layer -1: the embedding;
  /// num_layers: after the final norm. In the deepest layer and after it, `pass_rows` has only the
  /// wanted rows.
  virtual void hidden(std::int64_t layer, const PassRows& pass_rows,
                      const backend::Tensor& home) = 0;
  /// Keys (after RoPE) and values of a layer, [pass, local kv heads * d].
  virtual void kv(std::int64_t layer, const backend::Tensor& key, const backend::Tensor& value) = 0;
  /// The chosen experts of a layer with experts.
  virtual void experts(std::int64_t layer, const Routing& routing) = 0;
  /// Logits [runs, local vocabulary] f32 after the last position of these runs of `pass_rows`.
  virtual void last_logits(const PassRows& pass_rows, std::span<const std::int64_t> runs,
                           const backend::Tensor& logits) = 0;
  /// The most likely next tokens of rows first_row, ... of `pass_rows`; see LikelyTokens in
  /// head.hpp.
  virtual void likely(const PassRows& pass_rows, std::int64_t first_row,
                      std::span<std::uint32_t> ids, std::span<float> logprobs) = 0;
  /// A row of this rank that is not finite. Of several reports about a sequence, the earliest
  /// counts (NotFinite::comes_before).
  virtual void not_finite(const NotFinite& found) = 0;
};

}  // namespace tetrarch::model
