// The state of a rank is the same after it is written and read.
// SPDX-License-Identifier: Apache-2.0
#include "watch/rank_state.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace tetrarch::watch {
namespace {

using Ranks = std::vector<int>;

std::string text(const Ranks& ranks) {
  return ranks_text(ranks);
}

TEST(RankState, RanksAreWrittenAsRuns) {
  EXPECT_EQ(text({}), "");
  EXPECT_EQ(text({3}), "3");
  EXPECT_EQ(text({0, 1}), "0-1");
  EXPECT_EQ(text({0, 1, 2, 3}), "0-3");
  EXPECT_EQ(text({0, 4}), "0,4");
  EXPECT_EQ(text({0, 4, 8, 12}), "0-12:4");
  EXPECT_EQ(text({0, 1, 2, 3, 5, 9, 13}), "0-3,5-13:4");
  EXPECT_EQ(text({2, 1, 0}), "2,1,0");
}

TEST(RankState, RunsAreReadBack) {
  for (const Ranks& ranks : {Ranks{}, Ranks{3}, Ranks{0, 1}, Ranks{0, 4}, Ranks{0, 4, 8, 12},
                             Ranks{0, 1, 2, 3, 5, 9, 13}, Ranks{2, 1, 0}, Ranks{7, 0, 1, 2, 9}})
    EXPECT_EQ(ranks_in(text(ranks)), ranks) << text(ranks);
}

TEST(RankState, WhatIsNoListOfRanksIsEmpty) {
  for (const char* const bad : {"x", "-1", "1,", ",1", "1-", "0-8:0", "1 2"})
    EXPECT_EQ(ranks_in(bad), Ranks{}) << bad;
}

RankState waiting() {
  RankState state;
  state.rank = 5;
  state.quiet_s = 12.5;
  state.phase = "tp_gather";
  state.microbatch = 7;
  state.layer = 3;
  state.steps = 40;
  state.operation = "all_gather_v";
  state.group = "tp 4-7";
  state.waited_s = 12.6;
  state.begun = {{"tp 4-7", 120}, {"world 0-63", 9}};
  return state;
}

TEST(RankState, AnAnswerIsReadAsItWasWritten) {
  const RankState read = RankState::from_json(waiting().to_json());

  EXPECT_EQ(read.to_json(), waiting().to_json());
  EXPECT_EQ(read.text(), "in all_gather_v on tp 4-7, phase tp_gather, layer 3, microbatch 7");
}

TEST(RankState, ATornAnswerIsRefused) {
  const std::string whole = waiting().to_json();

  EXPECT_THROW(RankState::from_json(whole.substr(0, whole.size() / 2)), base::Refusal);
  EXPECT_THROW(RankState::from_json("{}"), base::Refusal);
  EXPECT_THROW(RankState::from_json("[1]"), base::Refusal);
}

TEST(RankState, ACollectiveWaitsForTheOthersAndAMessageForItsPeer) {
  RankState state = waiting();
  EXPECT_EQ(state.awaited(), (Ranks{4, 6, 7}));
  state.peer = 6;
  EXPECT_EQ(state.awaited(), Ranks{6});
  state.operation = "";
  EXPECT_EQ(state.awaited(), Ranks{});
  EXPECT_EQ(state.text(), "not in an exchange, phase tp_gather, layer 3, microbatch 7");
}

}  // namespace
}  // namespace tetrarch::watch
