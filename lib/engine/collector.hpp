/// Collects the outputs of the forward pass: which rows the writing rank gets, and where it writes
/// them in its output part.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "engine/gatherer.hpp"
#include "engine/not_finite.hpp"
#include "engine/pooling.hpp"
#include "engine/sequence_table.hpp"
#include "model/transformer.hpp"
#include "plan/plan.hpp"
#include "storage/run/part_file.hpp"

namespace tetrarch::engine {

/// Decodes timing rows that were sent as bytes.
std::vector<storage::TimingRow> timing_rows_from(std::span<const std::byte> bytes);

/// All (pp, tp) ranks of one (dp, ep) call these functions in the same order. Only the writer waits
/// for other ranks.
///
///  begin(sequences)
///  for each pass:  begin_pass(pass), take_earlier_stages(pass), then the functions that the
///                  forward pass calls (model::Observer), scores()
///  end(timing)
class Collector final : public model::Observer {
 public:
  /// `writer` is null on all ranks except the writing one. Keeps references to its arguments, which
  /// must outlive it.
  Collector(const plan::Plan& plan, const Topology& topology, backend::Compute& compute,
            base::Timeline& timeline, storage::PartWriter* writer);

  /// Begins a microbatch with the sequences of this EP rank.
  void begin(std::span<const plan::SequenceLength> sequences, const storage::InputSet& inputs);
  /// On the writer: receives the outputs of a pass from the stages before the last. Other ranks do
  /// nothing.
  void take_earlier_stages(const model::PassRows& pass);

  void hidden(std::int64_t layer, const model::PassRows& pass,
              const backend::Tensor& home) override;
  void kv(std::int64_t layer, const backend::Tensor& key, const backend::Tensor& value) override;
  void experts(std::int64_t layer, const model::Routing& routing) override;
  void last_logits(const model::PassRows& pass, std::span<const std::int64_t> runs,
                   const backend::Tensor& logits) override;
  void likely(const model::PassRows& pass, std::int64_t first_row, std::span<std::uint32_t> ids,
              std::span<float> logprobs) override;
  void not_finite(const model::NotFinite& found) override { sequences_.note(found); }
  void scores(const model::PassRows& pass, const model::TokenScores& scores);
  /// Sets the rows of the present pass. Call it before Transformer::embed() and run_layers();
  /// `pass` must live until the next call.
  void begin_pass(const model::PassRows& pass) { pass_ = &pass; }

  /// Collects timing rows and counts from all ranks, then ends the microbatch.
  void end(std::span<const storage::TimingRow> timing);
  void flush() { gatherer_.flush(); }
  /// Number of dropped copies of this rank's tokens in each layer of the model, so far.
  const std::vector<std::int64_t>& dropped() const { return dropped_; }
  /// The sequences that this rank has written as failed, so far.
  const NotFiniteTally& failed() const { return failed_; }

 private:
  bool wants_hidden(std::int64_t layer) const;
  backend::Tensor like(base::DType dtype, std::int64_t columns) const;
  void write_rows(std::string_view path, const model::PassRows& pass, std::int64_t first_row,
                  const backend::Tensor& rows);
  void take_hidden(int stage, std::int64_t layer, const model::PassRows& pass,
                   const backend::Tensor* own);
  void take_kv(int stage, std::int64_t layer, const model::PassRows& pass,
               const backend::Tensor* key, const backend::Tensor* value);
  void take_experts(int stage, std::int64_t layer, const model::PassRows& pass,
                    const backend::Tensor* own);
  void write_sums();
  void take_not_finite(std::span<const std::byte> bytes);
  void add_counts(int stage, std::span<const std::byte> counts);
  void write_dense_experts();

  const plan::Plan& plan_;
  const plan::ModelSpec& spec_;
  const plan::Outputs& outputs_;
  const Topology& topology_;
  backend::Compute& compute_;
  base::Timeline& timeline_;
  storage::PartWriter* writer_;
  Gatherer gatherer_;
  plan::Range stage_layers_;
  std::vector<std::int64_t> kv_width_, vocab_width_;  // number of columns that each tp rank sends
  const model::PassRows* pass_ = nullptr;
  SequenceTable sequences_;
  std::map<std::int64_t, Pooler> poolers_;
  // [stage layers][E + 1]: copies of each expert, then dropped copies
  std::vector<std::uint64_t> counts_;
  std::vector<std::int64_t> dropped_;  // [layers]
  std::vector<std::uint16_t> expert_ids_;
  NotFiniteTally failed_;
};

}  // namespace tetrarch::engine
