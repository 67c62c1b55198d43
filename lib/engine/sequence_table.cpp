// Sums and findings of each sequence of a microbatch.
// SPDX-License-Identifier: Apache-2.0
#include "engine/sequence_table.hpp"

#include <cmath>

#include "base/error.hpp"
#include "engine/not_finite.hpp"

namespace tetrarch::engine {

void SequenceTable::begin(std::span<const plan::SequenceLength> sequences,
                          const storage::InputSet& inputs) {
  sequences_.clear();
  not_finite_.clear();
  num_rows_ = 0;
  for (const plan::SequenceLength& each : sequences) {
    SequenceSums sequence;
    sequence.sequence = each.sequence;
    sequence.length = inputs.length(each.sequence);
    sequence.score_from = inputs.score_from(each.sequence);
    sequence.first_row = num_rows_;
    sequences_.push_back(sequence);
    num_rows_ += sequence.length;
  }
}

std::int64_t SequenceTable::index_of(std::int64_t sequence) const {
  const auto at = std::ranges::lower_bound(sequences_, sequence, {}, &SequenceSums::sequence);
  base::expects(at != sequences_.end() && at->sequence == sequence, "a sequence of the share");
  return at - sequences_.begin();
}

// Row i predicts token i + 1. Its log-probability is stored at the position of that token.
void SequenceTable::add_scores(const plan::SequenceSpan& span, std::span<const float> logprob,
                               std::span<const std::uint8_t> is_greedy, std::int64_t layer) {
  SequenceSums& at = of(span.sequence);
  for (std::int64_t i = 0; i < std::ssize(logprob); ++i) {
    if (!std::isfinite(logprob[i]))
      note({span.sequence, layer, span.first + i, model::Origin::head});
    if (span.first + 1 + i < at.score_from) continue;
    at.sum += static_cast<double>(logprob[i]);
    at.is_greedy = at.is_greedy & is_greedy[i];
    ++at.count;
  }
}

void SequenceTable::note(const model::NotFinite& found) {
  const auto [at, is_new] = not_finite_.try_emplace(found.sequence, found);
  if (!is_new && found.comes_before(at->second)) at->second = found;
}

void SequenceTable::check_rows(std::int64_t layer, model::Origin origin,
                               const plan::SequenceSpan& span, const backend::Tensor& run) {
  const std::int64_t row = first_not_finite(run);
  if (row >= 0) note({span.sequence, layer, span.first + row, origin});
}

}  // namespace tetrarch::engine
