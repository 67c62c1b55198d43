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
#include "model/transformer.hpp"
#include "plan/plan.hpp"
#include "storage/inputs_file.hpp"
#include "storage/part_file.hpp"

namespace tetrarch::engine {

/// Decodes timing rows that were sent as bytes.
std::vector<storage::TimingRow> timing_rows_from(std::span<const std::byte> bytes);

/// All (pp, tp) ranks of one (dp, ep) call these functions in the same order. Only the writer waits
/// for other ranks.
///
///  begin(sequences)
///  for each pass:  begin_pass(batch), take_earlier_stages(batch), then the functions that the
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
  void take_earlier_stages(const model::MicroBatch& batch);

  void hidden(std::int64_t layer, const model::MicroBatch& batch,
              const backend::Tensor& home) override;
  void kv(std::int64_t layer, const backend::Tensor& key, const backend::Tensor& value) override;
  void experts(std::int64_t layer, const model::Routing& routing) override;
  void last_logits(const model::MicroBatch& batch, std::span<const std::int64_t> runs,
                   const backend::Tensor& logits) override;
  void likely(const model::MicroBatch& batch, std::int64_t first_row, std::span<std::uint32_t> ids,
              std::span<float> logprobs) override;
  void not_finite(const model::NotFinite& found) override;
  void scores(const model::MicroBatch& batch, const model::TokenScores& scores);
  /// Sets the rows of the present pass. Call it before Transformer::embed() and run_layers();
  /// `batch` must live until the next call.
  void begin_pass(const model::MicroBatch& batch) { pass_ = &batch; }

  /// Collects timing rows and counts from all ranks, then ends the microbatch.
  void end(std::span<const storage::TimingRow> timing);
  void flush() { gatherer_.flush(); }
  /// Number of dropped copies of this rank's tokens in each layer of the model, so far.
  const std::vector<std::int64_t>& dropped() const { return dropped_; }
  /// The sequences that this rank has written as failed, so far.
  const NotFiniteTally& failed() const { return failed_; }

 private:
  /// A sequence of the microbatch, with the sums of its log-probabilities.
  struct Sequence {
    std::int64_t sequence = 0, length = 0, score_from = 0;
    std::int64_t first_row = 0;  // its first row in this rank's rows of the microbatch
    double sum = 0;
    std::uint64_t count = 0;
    std::uint8_t is_greedy = 1;
    bool has_first = false;  // true: the NaN of its first token is written
  };

  bool wants_hidden(std::int64_t layer) const;
  backend::Tensor like(base::DType dtype, std::int64_t columns) const;
  std::int64_t index_of(std::int64_t sequence) const;
  /// Calls each(index of the sequence, positions, rows) for every run among `rows`, which begin at
  /// row first_row of the batch.
  template <class Each>
  void for_runs(const model::MicroBatch& batch, std::int64_t first_row, const backend::Tensor& rows,
                const Each& each) const;
  void write_rows(std::string_view path, const model::MicroBatch& batch, std::int64_t first_row,
                  const backend::Tensor& rows);
  void take_hidden(int stage, std::int64_t layer, const model::MicroBatch& batch,
                   const backend::Tensor* own);
  void take_kv(int stage, std::int64_t layer, const model::MicroBatch& batch,
               const backend::Tensor* key, const backend::Tensor* value);
  void take_experts(int stage, std::int64_t layer, const model::MicroBatch& batch,
                    const backend::Tensor* own);
  void check_rows(std::int64_t layer, model::Origin origin, const plan::SequenceSpan& span,
                  const backend::Tensor& run);
  void add_scores(const plan::SequenceSpan& span, Sequence& at, std::span<const float> logprob,
                  std::span<const std::uint8_t> is_greedy);
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
  const model::MicroBatch* pass_ = nullptr;
  std::vector<Sequence> sequences_;  // of this EP rank, in input order
  std::map<std::int64_t, Pooler> poolers_;
  // [stage layers][E + 1]: copies of each expert, then dropped copies
  std::vector<std::uint64_t> counts_;
  std::vector<std::int64_t> dropped_;  // [layers]
  std::vector<std::uint16_t> expert_ids_;
  std::map<std::int64_t, model::NotFinite> not_finite_;  // by sequence: its earliest report
  NotFiniteTally failed_;
};

}  // namespace tetrarch::engine
