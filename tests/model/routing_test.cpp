// Which rank sends what in which round: all ranks of a stage are simulated in one process.
// SPDX-License-Identifier: Apache-2.0
#include "model/routing.hpp"

#include <algorithm>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace tetrarch::model {
namespace {

struct StageSize {
  int ep, tp;
  int size() const { return ep * tp; }
};
constexpr StageSize stages[] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}, {4, 2},
                                {2, 4}, {3, 1}, {1, 4}, {4, 1}};
constexpr std::int64_t num_experts = 12;

/// [rank][expert]; rank = ep_rank * tp + tp_rank
using Counts = std::vector<std::int32_t>;

Counts random_counts(const StageSize& stage, std::uint32_t seed, int most) {
  std::mt19937 random(seed);
  Counts counts(static_cast<std::size_t>(stage.size() * num_experts));
  for (auto& count : counts)
    count = static_cast<std::int32_t>(random() % static_cast<unsigned>(most + 1));
  return counts;
}

ExchangeCounts exchange_of(const StageSize& stage, const Counts& counts) {
  return {counts, stage.ep, stage.tp, num_experts};
}

std::int64_t owner_of(const StageSize& stage, std::int64_t expert) {
  return expert / (num_experts / stage.ep);
}

/// A copy of a token that is sent to an expert.
struct Copy {
  int source = 0;          // rank
  std::int64_t place = 0;  // index in the send order of the source
  std::int64_t expert = 0;
  bool operator==(const Copy&) const = default;
};

/// The copies of each rank in its send order: by (expert, token).
std::vector<std::vector<Copy>> send_orders(const StageSize& stage, const Counts& counts) {
  std::vector<std::vector<Copy>> orders(static_cast<std::size_t>(stage.size()));
  for (int rank = 0; rank < stage.size(); ++rank)
    for (std::int64_t i = 0; i < num_experts; ++i)
      for (int copy = 0; copy < counts[static_cast<std::size_t>(rank * num_experts + i)]; ++copy) {
        auto& order = orders[static_cast<std::size_t>(rank)];
        order.push_back({rank, std::ssize(order), i});
      }
  return orders;
}

/// Simulates the rounds of one exchange, with all ranks of the stage.
class Play {
 public:
  Play(const StageSize& stage, const Counts& counts, std::int64_t round_rows)
      : stage_(stage),
        exchange_(exchange_of(stage, counts)),
        round_rows_(round_rows),
        sent_(send_orders(stage, counts)),
        times_(sent_.size()),
        rounds_(sent_.size()) {
    for (std::size_t rank = 0; rank < sent_.size(); ++rank)
      times_[rank].assign(sent_[rank].size(), 0);
  }

  void run() {
    for (std::int64_t i = 0; i < exchange_.num_rounds(round_rows_); ++i) {
      plan(i);
      for (int ep = 0; ep < stage_.ep; ++ep)
        meet(ep, i);
    }
    for (const auto& times : times_)
      EXPECT_TRUE(std::ranges::all_of(times, [](int n) { return n == 1; }))
          << "a copy was not sent exactly once";
  }

  void expect_nothing_in_round(std::int64_t index) {
    plan(index);
    for (const ExchangeRound& round : rounds_) {
      EXPECT_EQ(round.num_rows(), 0);
      EXPECT_EQ(round.num_received(), 0);
      EXPECT_EQ(std::accumulate(round.send_count.begin(), round.send_count.end(), 0L), 0);
    }
  }

 private:
  ExchangeRound& round(int ep, int tp) {
    return rounds_[static_cast<std::size_t>(ep * stage_.tp + tp)];
  }

  void plan(std::int64_t index) {
    for (int ep = 0; ep < stage_.ep; ++ep)
      for (int tp = 0; tp < stage_.tp; ++tp)
        plan_round(exchange_, ep, tp, round_rows_, index, round(ep, tp));
  }

  /// The rows that (ep, tp) receives from its ep peers, in the order of receive_offset.
  std::vector<Copy> received(int ep, int tp) {
    const ExchangeRound& mine = round(ep, tp);
    std::vector<Copy> rows;
    for (int peer = 0; peer < stage_.ep; ++peer) {
      const ExchangeRound& theirs = round(peer, tp);
      const auto at = static_cast<std::size_t>(ep), from = static_cast<std::size_t>(peer);
      EXPECT_EQ(theirs.send_count[at], mine.receive_count[from]);
      EXPECT_EQ(mine.receive_offset[from], std::ssize(rows));
      const auto rank = static_cast<std::size_t>(peer * stage_.tp + tp);
      EXPECT_GE(theirs.send_offset[at], 0);
      EXPECT_LE(theirs.send_offset[at] + theirs.send_count[at], std::ssize(sent_[rank]));
      for (std::int64_t i = 0; i < theirs.send_count[at]; ++i) {
        const auto place = static_cast<std::size_t>(theirs.send_offset[at] + i);
        rows.push_back(sent_[rank].at(place));
        ++times_[rank].at(place);
      }
    }
    EXPECT_EQ(mine.num_received(), std::ssize(rows));
    return rows;
  }

  /// Gathers what the tp ranks of one EP rank received, and checks its order by expert.
  void meet(int ep, std::int64_t index) {
    std::vector<Copy> exchanged;
    for (int tp = 0; tp < stage_.tp; ++tp) {
      const std::vector<Copy> rows = received(ep, tp);
      for (int other = 0; other < stage_.tp; ++other)
        EXPECT_EQ(round(ep, other).peer_count[static_cast<std::size_t>(tp)], std::ssize(rows));
      exchanged.insert(exchanged.end(), rows.begin(), rows.end());
    }
    const std::int64_t left = exchange_.total_to(ep) - index * round_rows_;
    EXPECT_EQ(std::ssize(exchanged), std::clamp<std::int64_t>(left, 0, round_rows_));
    for (int tp = 0; tp < stage_.tp; ++tp)
      expect_grouped(round(ep, tp), ep, exchanged);
  }

  void expect_grouped(const ExchangeRound& round, int ep, const std::vector<Copy>& exchanged) {
    const std::int64_t local = num_experts / stage_.ep;
    ASSERT_EQ(std::ssize(round.expert_offset), local + 1);
    EXPECT_EQ(round.expert_offset.front(), 0);
    ASSERT_EQ(round.num_rows(), std::ssize(exchanged));
    ASSERT_EQ(round.expert_order.size(), exchanged.size());
    ASSERT_EQ(round.exchange_order.size(), exchanged.size());
    for (std::int64_t expert = 0; expert < local; ++expert) {
      const auto begin =
          static_cast<std::size_t>(round.expert_offset[static_cast<std::size_t>(expert)]);
      const auto end =
          static_cast<std::size_t>(round.expert_offset[static_cast<std::size_t>(expert + 1)]);
      for (std::size_t row = begin; row < end; ++row) {
        const auto from = static_cast<std::size_t>(round.expert_order[row]);
        EXPECT_EQ(exchanged.at(from).expert, ep * local + expert);
        EXPECT_EQ(round.exchange_order.at(from), static_cast<std::int32_t>(row));
      }
    }
  }

  StageSize stage_;
  ExchangeCounts exchange_;
  std::int64_t round_rows_;
  std::vector<std::vector<Copy>> sent_;
  std::vector<std::vector<int>> times_;  // how often each copy was sent
  std::vector<ExchangeRound> rounds_;    // index: rank; reused in every round
};

TEST(Routing, CountsAnswerAsTheNaiveSumsDo) {
  for (const StageSize& stage : stages) {
    const Counts counts = random_counts(stage, 5, 6);
    const ExchangeCounts exchange = exchange_of(stage, counts);
    std::vector<std::int64_t> to(static_cast<std::size_t>(stage.ep), 0);
    for (int rank = 0; rank < stage.size(); ++rank) {
      std::vector<std::int64_t> own(static_cast<std::size_t>(stage.ep), 0);
      for (std::int64_t expert = 0; expert < num_experts; ++expert) {
        const auto at = static_cast<std::size_t>(rank * num_experts + expert);
        const std::int64_t copies = counts[at];
        EXPECT_EQ(exchange.copies(rank / stage.tp, rank % stage.tp, expert), copies);
        own[static_cast<std::size_t>(owner_of(stage, expert))] += copies;
      }
      for (int ep = 0; ep < stage.ep; ++ep) {
        const auto at = static_cast<std::size_t>(ep);
        EXPECT_EQ(exchange.copies_to(rank / stage.tp, rank % stage.tp, ep), own[at]);
        to[at] += own[at];
      }
    }
    for (int ep = 0; ep < stage.ep; ++ep)
      EXPECT_EQ(exchange.total_to(ep), to[static_cast<std::size_t>(ep)]);
  }
}

TEST(Routing, ExpertsBelongToTheirEpRanks) {
  const ExchangeCounts exchange = exchange_of({4, 2}, random_counts({4, 2}, 1, 1));

  EXPECT_EQ(exchange.ep(), 4);
  EXPECT_EQ(exchange.tp(), 2);
  EXPECT_EQ(exchange.experts_of(0), (plan::Range{0, 3}));
  EXPECT_EQ(exchange.experts_of(3), (plan::Range{9, 12}));
}

TEST(Routing, CountsOfAnotherShapeAreRefused) {
  const Counts counts(num_experts, 0);

  EXPECT_THROW(ExchangeCounts(counts, 2, 1, num_experts), base::InternalError);
}

TEST(Routing, RoundsAreThoseOfTheFullestEpRank) {
  Counts counts(2 * num_experts, 0);
  counts[0] = 3;                 // rank 0 -> expert 0, on EP rank 0
  counts[num_experts + 11] = 9;  // rank 1 -> expert 11, on EP rank 1
  const ExchangeCounts exchange = exchange_of({2, 1}, counts);

  EXPECT_EQ(exchange.num_rounds(9), 1);
  EXPECT_EQ(exchange.num_rounds(8), 2);
  EXPECT_EQ(exchange.num_rounds(4), 3);
  EXPECT_EQ(exchange.num_rounds(1), 9);
}

// The example of routing.hpp: EP rank 0 receives 3, 2 and 4 rows, four per round: a a a b | b c c c
// | c
TEST(Routing, TheWorkedExampleGoesInThreeRounds) {
  Counts counts(3 * num_experts, 0);
  counts[0 * num_experts] = 3;
  counts[1 * num_experts] = 2;
  counts[2 * num_experts] = 4;
  const ExchangeCounts exchange = exchange_of({3, 1}, counts);
  const std::vector<std::vector<std::int64_t>> received{{3, 1, 0}, {0, 1, 3}, {0, 0, 1}};

  ASSERT_EQ(exchange.num_rounds(4), 3);
  for (std::size_t i = 0; i < 3; ++i) {
    ExchangeRound round;
    plan_round(exchange, 0, 0, 4, static_cast<std::int64_t>(i), round);
    EXPECT_EQ(round.receive_count, received[i]);
  }
  ExchangeRound last;
  plan_round(exchange, 2, 0, 4, 2, last);
  EXPECT_EQ(last.send_count, (std::vector<std::int64_t>{1, 0, 0}));
  EXPECT_EQ(last.send_offset[0], 3);
}

TEST(Routing, EveryCopyArrivesOnceWhereItsExpertLives) {
  for (const StageSize& stage : stages)
    for (const std::int64_t round_rows : {1, 2, 7, 16, 50, 1000})
      for (std::uint32_t seed = 0; seed < 3; ++seed) {
        SCOPED_TRACE(testing::Message() << "ep " << stage.ep << " tp " << stage.tp << " R "
                                        << round_rows << " seed " << seed);
        Play(stage, random_counts(stage, seed, 3), round_rows).run();
      }
}

TEST(Routing, RanksWithoutTokensTakePartToo) {
  for (const StageSize& stage : stages)
    for (int empty = 0; empty < stage.size(); ++empty) {
      Counts counts = random_counts(stage, 9, 2);
      std::fill_n(counts.begin() + empty * num_experts, num_experts, 0);
      Play(stage, counts, 5).run();
    }
}

TEST(Routing, AllTokensOfAllRanksMayGoToOneExpert) {
  for (const StageSize& stage : stages)
    for (const std::int64_t expert : {0, 5, 11}) {
      Counts counts(static_cast<std::size_t>(stage.size() * num_experts), 0);
      for (int rank = 0; rank < stage.size(); ++rank)
        counts[static_cast<std::size_t>(rank * num_experts + expert)] = 5 + rank;
      for (const std::int64_t round_rows : {1, 4, 6, 100})
        Play(stage, counts, round_rows).run();
    }
}

TEST(Routing, NoTokensAreNoRounds) {
  for (const StageSize& stage : stages) {
    const Counts none(static_cast<std::size_t>(stage.size() * num_experts), 0);

    EXPECT_EQ(exchange_of(stage, none).num_rounds(4), 0);
    Play(stage, none, 4).expect_nothing_in_round(0);
  }
}

TEST(Routing, BeyondTheLastRoundNothingIsLeft) {
  for (const StageSize& stage : stages) {
    const Counts counts = random_counts(stage, 2, 3);
    Play play(stage, counts, 7);
    play.run();

    play.expect_nothing_in_round(exchange_of(stage, counts).num_rounds(7));
  }
}

}  // namespace
}  // namespace tetrarch::model
