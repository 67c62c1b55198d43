/// One EP rank's share of a microbatch: its sequences, their tokens, and the passes they make.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/timeline.hpp"
#include "engine/topology.hpp"
#include "model/microbatch.hpp"
#include "plan/plan.hpp"
#include "storage/inputs_file.hpp"

namespace tetrarch::engine {

enum class Capacity { none, limited };

class Part {
 public:
  /// `index` in the plan's list of microbatches. Plan, topology and inputs outlive it.
  Part(const plan::Plan& plan, const Topology& topology, const storage::InputSet& inputs,
       std::int32_t index, Capacity capacity);

  /// In input order.
  const std::vector<plan::SequenceLength>& sequences() const { return parts_[ep_]; }
  /// Largest over mean attention cost of the EP ranks.
  double imbalance() const { return imbalance_; }
  /// Rows of each layer in the KV cache: whole lengths of the sequences that pass in chunks.
  std::int64_t cache_tokens() const { return cache_tokens_; }
  /// Of the whole microbatch: all EP ranks make as many.
  std::int64_t num_passes() const;

  /// One tp rank reads all tokens of the part, all have them. Collective over tp. Throws
  /// SystemError, since what goes wrong here is known to this rank alone: it must end the others as
  /// well.
  void read_tokens(base::Timeline& timeline);
  /// The rows of one pass; with tokens where they were read.
  model::MicroBatch pass(std::int64_t number) const;

 private:
  struct Place {
    std::int64_t token = 0;       // where its tokens begin
    std::int64_t length = 0;      // of all of it, also of a last token that is only scored
    std::int64_t cache_row = -1;  // as in model::SequenceRows
  };
  void measure_imbalance();
  void place_in_microbatch(model::MicroBatch& batch) const;

  const plan::Plan& plan_;
  const Topology& topology_;
  const storage::InputSet& inputs_;
  const plan::Microbatch& microbatch_;
  std::int32_t index_;
  Capacity capacity_;
  std::size_t ep_;
  std::vector<std::vector<plan::SequenceLength>> parts_;  // of all EP ranks
  double imbalance_ = 1;
  std::int64_t cache_tokens_ = 0, num_tokens_ = 0;
  std::map<std::int64_t, Place> places_;  // by sequence
  std::vector<std::int32_t> tokens_;      // of the part's sequences, one after another
};

}  // namespace tetrarch::engine
