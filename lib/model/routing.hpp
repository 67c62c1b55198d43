/// The values that pass between router, exchange and experts, and the arithmetic of who sends what.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/tensor.hpp"
#include "plan/layout.hpp"

namespace tetrarch::model {

/// What the router chose for this rank's tokens.
struct Routing {
  backend::Tensor expert_id;    // [home, k] i32, most likely first
  backend::Tensor gate_weight;  // [home, k] f32
  backend::Tensor order;        // [copies, 1] i32: the token of each copy, by (expert, slot, token)
  backend::Tensor position;     // [home, k] i32: where each copy stands in that order; -1: dropped
  backend::Tensor count;        // [1, E] i32: copies of each expert
  std::int64_t num_copies = 0;  // sent to experts
  std::int64_t num_dropped = 0;  // beyond an expert's capacity
};

/// Who sends how many copies to which expert, of all (ep, tp) ranks of the instance.
///
/// The rows that the experts of one EP rank receive are numbered by (source's tp rank, source's ep
/// rank, expert, slot, token). Round i takes the rows [i * R, (i + 1) * R) of every EP rank, so
/// that no buffer is larger than R rows however skewed the routing is. With R = 4, and EP rank 0
/// receiving 3, 2 and 4 rows from three sources:
///   round 0:  a a a b | round 1:  b c c c | round 2:  c
class ExchangeCounts {
 public:
  ExchangeCounts() = default;
  /// `count`: [ep * tp][E] copies of each expert, source rank = ep_rank * tp + tp_rank.
  ExchangeCounts(std::span<const std::int32_t> count, int ep, int tp, std::int64_t num_experts);

  int ep() const { return ep_; }
  int tp() const { return tp_; }
  plan::Range experts_of(int ep_rank) const;
  /// Copies that source (ep, tp) sends to one expert.
  std::int64_t copies(int source_ep, int source_tp, std::int64_t expert) const;
  /// Copies that source (ep, tp) sends to all experts of one EP rank.
  std::int64_t copies_to(int source_ep, int source_tp, int destination) const;
  /// Rows that the experts of an EP rank receive from all sources.
  std::int64_t total_to(int destination) const;
  /// Copies per expert, of all sources.
  std::int64_t total_of_expert(std::int64_t expert) const;
  std::int64_t num_rounds(std::int64_t round_rows) const;

 private:
  std::vector<std::int64_t> prefix_;  // [source][E + 1]: copies to experts below
  int ep_ = 1, tp_ = 1;
  std::int64_t num_experts_ = 0;
};

/// One round of the exchange, seen from one rank.
struct ExchangeRound {
  std::vector<std::int64_t> send_count, send_offset;        // per ep peer; rows of the send order
  std::vector<std::int64_t> receive_count, receive_offset;  // per ep peer; rows received
  std::vector<std::int64_t> peer_count;      // rows received by each tp peer of this EP rank
  std::vector<std::int64_t> expert_offset;   // [local experts + 1] rows grouped by expert
  std::vector<std::int32_t> expert_order;    // exchanged row of each row in expert order
  std::vector<std::int32_t> exchange_order;  // its inverse
  std::int64_t num_received() const { return receive_offset.back() + receive_count.back(); }
  std::int64_t num_rows() const { return expert_offset.back(); }
};

/// The state of one layer's exchange.
struct Exchange {
  ExchangeCounts counts;
  ExchangeRound round;
};

/// Fills `round` (its vectors are reused) for the rank (ep_rank, tp_rank).
void plan_round(const ExchangeCounts& counts, int ep_rank, int tp_rank, std::int64_t round_rows,
                std::int64_t round_index, ExchangeRound& round);

}  // namespace tetrarch::model
