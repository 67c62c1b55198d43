/// What the sequences of a microbatch come to on the writing rank: where their rows lie, the sums
/// of their log-probabilities, and the first non-finite value of each.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "backend/tensor.hpp"
#include "model/not_finite.hpp"
#include "model/pass_rows.hpp"
#include "plan/schedule.hpp"
#include "storage/inputs/inputs_file.hpp"

namespace tetrarch::engine {

/// A sequence of the microbatch, with the sums of its log-probabilities.
struct SequenceSums {
  std::int64_t sequence = 0, length = 0, score_from = 0;
  std::int64_t first_row = 0;  // its first row in this rank's rows of the microbatch
  double sum = 0;
  std::uint64_t count = 0;
  std::uint8_t is_greedy = 1;
  bool has_first = false;  // true: the NaN of its first token is written
};

class SequenceTable {
 public:
  /// Begins a microbatch with the sequences of this EP rank, in input order.
  void begin(std::span<const plan::SequenceLength> sequences, const storage::InputSet& inputs);

  std::span<const SequenceSums> all() const { return sequences_; }
  std::int64_t num_rows() const { return num_rows_; }
  /// Index of the sequence in all().
  std::int64_t index_of(std::int64_t sequence) const;
  SequenceSums& of(std::int64_t sequence) { return sequences_[index_of(sequence)]; }

  /// Calls each(index of the sequence, positions, rows) for every run among `rows`, which begin at
  /// row first_row of `pass`.
  template <class Each>
  void for_runs(const model::PassRows& pass, std::int64_t first_row, const backend::Tensor& rows,
                const Each& each) const;

  /// Adds the log-probabilities of positions span.first + 1 and after. `layer` is the number by
  /// which a non-finite value of the head is reported.
  void add_scores(const plan::SequenceSpan& span, std::span<const float> logprob,
                  std::span<const std::uint8_t> is_greedy, std::int64_t layer);

  /// Notes a non-finite value; of each sequence the earliest one is kept.
  void note(const model::NotFinite& found);
  /// Notes the first non-finite value of host rows that the forward pass itself does not check.
  void check_rows(std::int64_t layer, model::Origin origin, const plan::SequenceSpan& span,
                  const backend::Tensor& run);
  /// By sequence: its earliest non-finite value.
  const std::map<std::int64_t, model::NotFinite>& not_finite() const { return not_finite_; }

 private:
  std::vector<SequenceSums> sequences_;
  std::int64_t num_rows_ = 0;
  std::map<std::int64_t, model::NotFinite> not_finite_;
};

template <class Each>
void SequenceTable::for_runs(const model::PassRows& pass, std::int64_t first_row,
                             const backend::Tensor& rows, const Each& each) const {
  std::int64_t begin = 0;  // first row of the run in the pass
  for (const model::SequenceRows& run : pass.rows) {
    const std::int64_t from = std::max(begin, first_row);
    const std::int64_t to = std::min(begin + run.count, first_row + rows.rows);
    if (from < to)
      each(index_of(run.sequence),
           plan::SequenceSpan{run.sequence, run.first_position + from - begin, to - from,
                              run.length},
           rows.row_range(from - first_row, to - from));
    begin += run.count;
  }
}

}  // namespace tetrarch::engine
