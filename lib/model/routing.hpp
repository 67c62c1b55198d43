/// The data that router, exchange and experts share, and the computation of which rank sends which
/// rows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/tensor.hpp"
#include "plan/layout.hpp"

namespace tetrarch::model {

/// The router's choices for the tokens of this rank.
struct Routing {
  backend::Tensor expert_id;    // [home, k] i32, most likely first
  backend::Tensor gate_weight;  // [home, k] f32
  // [copies, 1] i32: the token of each copy, sorted by (expert, slot, token)
  backend::Tensor order;
  backend::Tensor position;      // [home, k] i32: index of each copy in `order`; -1: dropped
  backend::Tensor count;         // [1, E] i32: copies of each expert
  std::int64_t num_copies = 0;   // copies sent to experts
  std::int64_t num_dropped = 0;  // copies beyond an expert's capacity
};

/// How many copies each (ep, tp) rank of the instance sends to each expert.
///
/// The rows that the experts of one EP rank receive are numbered in the order (source's tp rank,
/// source's ep rank, expert, slot, token). Round i exchanges the rows [i * R, (i + 1) * R) of every
/// EP rank. So no buffer holds more than R rows, even if the routing is skewed. Example: R = 4, and
/// EP rank 0 receives 3, 2 and 4 rows from three sources a, b, c:
///  round 0:  a a a b | round 1:  b c c c | round 2:  c
class ExchangeCounts {
 public:
  ExchangeCounts() = default;
  /// `count`: [ep * tp][E], copies of each expert by source; source = ep_rank * tp + tp_rank.
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
  std::int64_t num_rounds(std::int64_t round_rows) const;

 private:
  std::vector<std::int64_t> prefix_;  // [source][E + 1]: copies to all lower experts
  int ep_ = 1, tp_ = 1;
  std::int64_t num_experts_ = 0;
};

/// One round of the exchange, as one rank does it.
struct ExchangeRound {
  std::vector<std::int64_t> send_count, send_offset;        // for each ep peer; rows in send order
  std::vector<std::int64_t> receive_count, receive_offset;  // for each ep peer; rows received
  // number of rows that each tp peer of this EP rank receives
  std::vector<std::int64_t> peer_count;
  std::vector<std::int64_t> expert_offset;   // [local experts + 1]; first row of each expert
  std::vector<std::int32_t> expert_order;    // for each row in expert order: its exchanged row
  std::vector<std::int32_t> exchange_order;  // the inverse of expert_order
  std::int64_t num_received() const { return receive_offset.back() + receive_count.back(); }
  std::int64_t num_rows() const { return expert_offset.back(); }
};

/// The state of one layer's exchange.
struct Exchange {
  ExchangeCounts counts;
  ExchangeRound round;
};

/// Computes the round number `round_index` of the rank (ep_rank, tp_rank). Writes it to `round`,
/// whose vectors are reused.
void plan_round(const ExchangeCounts& counts, int ep_rank, int tp_rank, std::int64_t round_rows,
                std::int64_t round_index, ExchangeRound& round);

}  // namespace tetrarch::model
