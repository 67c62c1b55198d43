/// What leaves the forward pass: gathered from the tp ranks to their writer, row by row in order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/timeline.hpp"
#include "engine/pooling.hpp"
#include "engine/topology.hpp"
#include "model/transformer.hpp"
#include "storage/inputs_file.hpp"
#include "storage/part_file.hpp"

namespace tetrarch::engine {

/// Rows as they were sent.
std::vector<storage::TimingRow> timing_rows_from(std::span<const std::byte> bytes);

/// All tp ranks of a (dp, ep) call it alike; the writer (tp rank 0) appends to the part, the others
/// send their rows in pieces of at most piece_bytes.
class Collector final : public model::Observer {
 public:
  static constexpr std::int64_t piece_bytes = 4 << 20;

  /// `writer` is null on all but the writing rank. Holds references; all outlive it.
  Collector(const plan::ModelSpec& spec, const plan::Outputs& outputs, const Topology& topology,
            backend::Compute& compute, base::Timeline& timeline, storage::PartWriter* writer);

  void begin(const model::MicroBatch& batch, const storage::InputSet& inputs);
  void hidden(std::int64_t layer, const backend::Tensor& home) override;
  void experts(std::int64_t layer, const backend::Tensor& expert_id) override;
  void last_logits(std::int64_t first_run, const backend::Tensor& logits) override;
  void finite(const backend::Tensor& flag) override;
  void scores(const model::TokenScores& scores);
  /// The part's timing rows, gathered from all tp ranks; then closes the microbatch.
  void end(std::span<const storage::TimingRow> timing);

 private:
  /// Calls take(host rows) on the writer for all rows of the part, in order.
  void gather(const backend::Tensor& home, const std::function<void(const backend::Tensor&)>& take);
  void append(const std::string& path, const backend::Tensor& rows);

  const plan::ModelSpec& spec_;
  const plan::Outputs& outputs_;
  const Topology& topology_;
  backend::Compute& compute_;
  base::Timeline& timeline_;
  storage::PartWriter* writer_;
  const model::MicroBatch* batch_ = nullptr;
  std::vector<std::int64_t> score_from_;  // per run of the part
  std::vector<std::byte> piece_;
  std::vector<float> pooled_, logits_;
  std::vector<std::int32_t> flags_;
  std::vector<std::uint16_t> expert_ids_;
  Pooler pooler_;
};

}  // namespace tetrarch::engine
