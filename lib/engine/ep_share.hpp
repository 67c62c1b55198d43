/// The part of a microbatch that one EP rank computes: its sequences, their tokens, and its passes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/timeline.hpp"
#include "engine/topology.hpp"
#include "model/pass_rows.hpp"
#include "plan/plan.hpp"
#include "storage/inputs/inputs_file.hpp"

namespace tetrarch::engine {

/// limited: experts have a capacity (--capacity-factor > 0).
enum class Capacity { none, limited };

class EpShare {
 public:
  /// `index`: index in the plan's list of microbatches. Plan, topology and inputs must outlive the
  /// object.
  EpShare(const plan::Plan& plan, const Topology& topology, const storage::InputSet& inputs,
          std::int32_t index, Capacity capacity);

  /// The sequences of this EP rank, in input order.
  const std::vector<plan::SequenceLength>& sequences() const { return shares_[ep_]; }
  /// The attention cost of EP ranks, largest / mean.
  double imbalance() const { return imbalance_; }
  /// Number of rows of each layer in the KV cache: the sum of the lengths of all sequences that
  /// pass in chunks.
  std::int64_t cache_tokens() const { return cache_tokens_; }
  /// Number of passes. It is a property of the whole microbatch: all EP ranks do the same number of
  /// passes.
  std::int64_t num_passes() const;

  /// Reads all tokens of the share on one tp rank and broadcasts them to all. Collective over tp.
  /// Throws SystemError and not Refusal on a problem: only this rank knows of it, so the whole
  /// job must be aborted.
  void read_tokens(base::Timeline& timeline);
  /// Returns the rows of one pass; with token ids, if they were read.
  model::PassRows pass(std::int64_t number) const;

 private:
  struct Location {
    std::int64_t token = 0;       // index of its first token
    std::int64_t length = 0;      // number of its tokens, including a last one that is only scored
    std::int64_t cache_row = -1;  // as in model::SequenceRows
  };
  void measure_imbalance();
  void place_in_microbatch(model::PassRows& pass) const;

  const plan::Plan& plan_;
  const Topology& topology_;
  const storage::InputSet& inputs_;
  const plan::Microbatch& microbatch_;
  Capacity capacity_;
  std::size_t ep_;
  std::vector<std::vector<plan::SequenceLength>> shares_;  // sequences of each EP rank
  double imbalance_ = 1;
  std::int64_t cache_tokens_ = 0, num_tokens_ = 0;
  std::map<std::int64_t, Location> locations_;  // by sequence
  std::vector<std::int32_t> tokens_;            // of its sequences, one after another
};

}  // namespace tetrarch::engine
