// SPDX-License-Identifier: Apache-2.0
#include "model/routing.hpp"

#include <algorithm>

#include "base/shape.hpp"

namespace tetrarch::model {
namespace {

plan::Range intersect(plan::Range a, plan::Range b) {
  const plan::Range both{std::max(a.begin, b.begin), std::min(a.end, b.end)};
  return both.size() > 0 ? both : plan::Range{};
}

}  // namespace

ExchangeCounts::ExchangeCounts(std::span<const std::int32_t> count, int ep, int tp,
                               std::int64_t num_experts)
    : prefix_(static_cast<std::size_t>(ep) * tp * (num_experts + 1)),
      ep_(ep),
      tp_(tp),
      num_experts_(num_experts) {
  base::expects(static_cast<std::int64_t>(count.size()) == ep * tp * num_experts,
                "a count per source and expert");
  for (int source = 0; source < ep * tp; ++source) {
    std::int64_t* prefix = &prefix_[source * (num_experts + 1)];
    const std::int32_t* own = &count[source * num_experts];
    for (std::int64_t expert = 0; expert < num_experts; ++expert)
      prefix[expert + 1] = prefix[expert] + own[expert];
  }
}

plan::Range ExchangeCounts::experts_of(int ep_rank) const {
  return plan::even_range(num_experts_, ep_, ep_rank);
}

std::int64_t ExchangeCounts::copies(int source_ep, int source_tp, std::int64_t expert) const {
  const std::int64_t* prefix = &prefix_[(source_ep * tp_ + source_tp) * (num_experts_ + 1)];
  return prefix[expert + 1] - prefix[expert];
}

std::int64_t ExchangeCounts::copies_to(int source_ep, int source_tp, int destination) const {
  const std::int64_t* prefix = &prefix_[(source_ep * tp_ + source_tp) * (num_experts_ + 1)];
  const plan::Range experts = experts_of(destination);
  return prefix[experts.end] - prefix[experts.begin];
}

std::int64_t ExchangeCounts::total_to(int destination) const {
  std::int64_t total = 0;
  for (int source = 0; source < ep_ * tp_; ++source)
    total += copies_to(source / tp_, source % tp_, destination);
  return total;
}

std::int64_t ExchangeCounts::num_rounds(std::int64_t round_rows) const {
  std::int64_t rounds = 0;
  for (int destination = 0; destination < ep_; ++destination)
    rounds = std::max(rounds, base::ceil_div(total_to(destination), round_rows));
  return rounds;
}

void plan_round(const ExchangeCounts& counts, int ep_rank, int tp_rank, std::int64_t round_rows,
                std::int64_t round_index, ExchangeRound& round) {
  const int ep = counts.ep(), tp = counts.tp();
  const plan::Range window{round_index * round_rows, (round_index + 1) * round_rows};
  round.send_count.assign(ep, 0);
  round.send_offset.assign(ep, 0);
  round.receive_count.assign(ep, 0);
  round.receive_offset.assign(ep, 0);
  round.peer_count.assign(tp, 0);

  // What this rank sends: to each destination, the part of its copies that falls into the
  // destination's window of this round.
  std::int64_t segment = 0;  // index of the first copy for `destination` in this rank's send order
  for (int destination = 0; destination < ep; ++destination) {
    std::int64_t first = 0;  // number of this rank's first row among the destination's rows
    for (int t = 0; t < tp_rank; ++t)
      for (int e = 0; e < ep; ++e)
        first += counts.copies_to(e, t, destination);
    for (int e = 0; e < ep_rank; ++e)
      first += counts.copies_to(e, tp_rank, destination);
    const std::int64_t mine = counts.copies_to(ep_rank, tp_rank, destination);
    const plan::Range covered = intersect({first, first + mine}, window);
    round.send_count[destination] = covered.size();
    round.send_offset[destination] = segment + (covered.size() > 0 ? covered.begin - first : 0);
    segment += mine;
  }

  // What this EP rank receives, source by source, and for each source the rows of each local
  // expert.
  const plan::Range experts = counts.experts_of(ep_rank);
  struct Piece {
    std::int64_t expert, row, count;
  };
  std::vector<Piece> pieces;
  std::int64_t number = 0, received = 0, exchanged = 0;
  for (int t = 0; t < tp; ++t) {
    for (int e = 0; e < ep; ++e) {
      std::int64_t from_source = 0;
      for (std::int64_t expert = experts.begin; expert < experts.end; ++expert) {
        const std::int64_t copies = counts.copies(e, t, expert);
        const std::int64_t count = intersect({number, number + copies}, window).size();
        number += copies;
        if (count == 0) continue;
        pieces.push_back({expert - experts.begin, exchanged, count});
        exchanged += count;
        from_source += count;
      }
      round.peer_count[t] += from_source;
      if (t != tp_rank) continue;
      round.receive_count[e] = from_source;
      round.receive_offset[e] = received;
      received += from_source;
    }
  }

  round.expert_offset.assign(experts.size() + 1, 0);
  for (const Piece& piece : pieces)
    round.expert_offset[piece.expert + 1] += piece.count;
  for (std::int64_t expert = 0; expert < experts.size(); ++expert)
    round.expert_offset[expert + 1] += round.expert_offset[expert];
  std::vector<std::int64_t> next(round.expert_offset.begin(), round.expert_offset.end() - 1);
  round.expert_order.resize(exchanged);
  round.exchange_order.resize(exchanged);
  for (const Piece& piece : pieces)
    for (std::int64_t i = 0; i < piece.count; ++i) {
      const std::int64_t to = next[piece.expert]++;
      round.expert_order[to] = static_cast<std::int32_t>(piece.row + i);
      round.exchange_order[piece.row + i] = static_cast<std::int32_t>(to);
    }
}

}  // namespace tetrarch::model
