// SPDX-License-Identifier: Apache-2.0
#include "engine/ep_share.hpp"

#include <algorithm>
#include <span>

#include "engine/agree.hpp"

namespace tetrarch::engine {

EpShare::EpShare(const plan::Plan& plan, const Topology& topology, const storage::InputSet& inputs,
                 std::int32_t index, Capacity capacity)
    : plan_(plan),
      topology_(topology),
      inputs_(inputs),
      microbatch_(plan.microbatches.at(static_cast<std::size_t>(index))),
      capacity_(capacity),
      ep_(static_cast<std::size_t>(topology.place.ep)),
      shares_(plan::assign_to_ep(microbatch_, topology.grid.ep, plan::linear_cost(plan.model),
                                 plan::quadratic_cost(plan.model))) {
  for (const plan::SequenceLength& sequence : sequences()) {
    Location place{num_tokens_, inputs.length(sequence.sequence), -1};
    num_tokens_ += place.length;
    if (sequence.length > plan.chunk_tokens) {
      place.cache_row = cache_tokens_;
      cache_tokens_ += sequence.length;
    }
    locations_[sequence.sequence] = place;
  }
  measure_imbalance();
}

void EpShare::measure_imbalance() {
  const double linear = plan::linear_cost(plan_.model);
  const double quadratic = plan::quadratic_cost(plan_.model);
  double total = 0, largest = 0;
  for (const auto& share : shares_) {
    double cost = 0;
    for (const plan::SequenceLength& sequence : share) {
      const auto length = static_cast<double>(sequence.length);
      cost += length * linear + length * (length + 1) / 2 * quadratic;
    }
    total += cost;
    largest = std::max(largest, cost);
  }
  if (total > 0) imbalance_ = largest * topology_.grid.ep / total;
}

std::int64_t EpShare::num_passes() const {
  return plan::num_passes(microbatch_.sequences, plan_.chunk_tokens);
}

void EpShare::read_tokens(base::Timeline& timeline) {
  timeline.enter(base::Phase::input);
  tokens_.resize(static_cast<std::size_t>(num_tokens_));
  if (topology_.place.tp == 0) {
    std::vector<std::uint32_t> read;
    auto to = tokens_.begin();
    for (const plan::SequenceLength& sequence : sequences()) {
      const std::int64_t length = locations_.at(sequence.sequence).length;
      read.resize(static_cast<std::size_t>(length));
      const std::optional<Problem> problem =
          attempt([&] { inputs_.read_tokens(sequence.sequence, 0, length, read.data()); });
      if (problem) throw base::SystemError(problem->code, problem->message);
      to = std::copy(read.begin(), read.end(), to);
    }
  }
  topology_.cart.tp().broadcast(std::as_writable_bytes(std::span(tokens_)), 0);
  timeline.add_bytes(tokens_.size() * sizeof(std::int32_t));
}

/// With a capacity factor: sets the place of each row of the stage in the whole microbatch.
void EpShare::place_in_microbatch(model::PassRows& pass) const {
  std::map<std::int64_t, std::int64_t> first;
  std::int64_t place = 0;
  for (const plan::SequenceLength& sequence : microbatch_.sequences) {
    first[sequence.sequence] = place;
    place += sequence.length;
  }
  for (const std::vector<plan::SequenceLength>& share : shares_) {
    std::int64_t rows = 0;
    for (const plan::SequenceLength& sequence : share) {
      for (std::int64_t i = 0; i < sequence.length; ++i)
        pass.stage_place.push_back(static_cast<std::int32_t>(first[sequence.sequence] + i));
      rows += sequence.length;
    }
    for (int rank = 0; rank < topology_.grid.tp; ++rank)
      pass.stage_count.push_back(plan::even_range(rows, topology_.grid.tp, rank).size());
  }
}

model::PassRows EpShare::pass(std::int64_t number) const {
  model::PassRows pass;
  for (const plan::SequenceSpan& span :
       plan::spans_of_pass(sequences(), plan_.chunk_tokens, number)) {
    const Location& place = locations_.at(span.sequence);
    model::SequenceRows rows{span.sequence, span.first, span.count, place.length};
    rows.cache_row = place.cache_row;
    if (!tokens_.empty()) {
      const auto from = tokens_.begin() + place.token + span.first;
      pass.token.insert(pass.token.end(), from, from + span.count);
      if (!rows.span().is_last()) rows.next_token = from[span.count];
    }
    pass.rows.push_back(rows);
  }
  model::spread_evenly(pass, topology_.grid.tp);
  if (capacity_ == Capacity::limited) place_in_microbatch(pass);
  return pass;
}

}  // namespace tetrarch::engine
