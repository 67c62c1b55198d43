// Ranks that wait only for ranks that work are left alone. Ranks that will wait for ever are found.
// SPDX-License-Identifier: Apache-2.0
#include "watch/verdict.hpp"

#include <gtest/gtest.h>

namespace tetrarch::watch {
namespace {

constexpr double limit_s = 60;
constexpr double quiet = 100, recent = 10;
using Answers = std::vector<std::optional<RankState>>;

RankState at_work(int rank, double quiet_s) {
  RankState state;
  state.rank = rank;
  state.quiet_s = quiet_s;
  state.phase = "experts";
  state.microbatch = 0;
  return state;
}

/// A rank that waits in the `number`-th collective of `group`, after `steps` phases.
RankState waits(int rank, const std::string& group, std::uint64_t number, std::uint64_t steps,
                double quiet_s = quiet) {
  RankState state = at_work(rank, quiet_s);
  state.operation = "all_gather_v";
  state.group = group;
  state.waited_s = quiet_s;
  state.steps = steps;
  state.begun[group] = number;
  return state;
}

Verdict judged(const Answers& answers, Silence silence = Silence::tolerated) {
  std::vector<std::string> hosts;
  for (std::size_t rank = 0; rank < answers.size(); ++rank)
    hosts.push_back("node" + std::to_string(rank));
  return judge(answers, hosts, 0, limit_s, silence);
}

std::vector<int> blamed(const Answers& answers) {
  return judged(answers).ranks;
}

TEST(Verdict, WaitingForARankThatWorksIsNoHang) {
  const Verdict verdict =
      judged({waits(0, "world 0-2", 5, 9), waits(1, "world 0-2", 5, 9), at_work(2, 0)});

  EXPECT_TRUE(verdict.ranks.empty());
  EXPECT_EQ(verdict.look_again_s, limit_s);
}

TEST(Verdict, NorIsWaitingForOneThatWaitsForOneThatWorks) {
  RankState receives = waits(1, "pp 0-2", 0, 9);
  receives.peer = 2;

  EXPECT_TRUE(blamed({waits(0, "tp 0-1", 5, 9), receives, at_work(2, recent)}).empty());
}

TEST(Verdict, ItLooksAgainWhenTheLastOfThoseWaitedForCouldBeQuiet) {
  const Verdict verdict = judged({waits(0, "tp 0-1", 5, 9), waits(1, "ep 1-2", 5, 9, 59),
                                  waits(2, "ep 1-2", 5, 9, 20), at_work(3, 0)});

  EXPECT_TRUE(verdict.ranks.empty());
  EXPECT_EQ(verdict.look_again_s, 40);
}

TEST(Verdict, OthersThatWorkDoNotHelpThoseThatWaitForEachOther) {
  const Answers answers = {waits(0, "tp 0-1", 5, 9), waits(1, "ep 1,3", 4, 12), at_work(2, 0),
                           waits(3, "ep 1,3", 4, 12)};

  EXPECT_FALSE(blamed(answers).empty());
}

TEST(Verdict, WhoWentOnWithoutACollectiveIsOutOfStep) {
  RankState gone_on = waits(1, "ep 1,3", 8, 12), waits_too = waits(3, "tp 2-3", 6, 13);
  gone_on.begun["tp 0-1"] = 4;
  RankState behind = waits(2, "ep 0,2", 7, 9);
  behind.begun["tp 2-3"] = 5;
  waits_too.begun["ep 1,3"] = 8;
  Answers answers = {waits(0, "tp 0-1", 5, 9), gone_on, behind, waits_too};
  answers[0]->begun["ep 0,2"] = 6;

  const Verdict verdict = judged(answers);

  EXPECT_EQ(verdict.ranks, std::vector<int>{1});
  EXPECT_NE(
      verdict.problem.find("rank 1 (host node1) is out of step (it is in all_gather_v on ep 1,3"),
      std::string::npos)
      << verdict.problem;
  EXPECT_NE(verdict.problem.find("rank 0 has waited for it 100 s in all_gather_v on tp 0-1"),
            std::string::npos)
      << verdict.problem;
}

TEST(Verdict, SoIsWhoWentOnToTheNextMicrobatch) {
  RankState beyond = waits(0, "stage 0-3", 9, 1);
  beyond.microbatch = 1;
  beyond.begun["ep 0,2"] = 7;
  RankState left = waits(2, "ep 0,2", 8, 40);
  left.begun["stage 0-3"] = 8;

  EXPECT_EQ(blamed({beyond, waits(1, "ep 1,3", 8, 40), left, waits(3, "ep 1,3", 8, 40)}),
            std::vector{0});
}

TEST(Verdict, SoIsWhoIsInAnotherCollectiveOfTheSameNumber) {
  RankState other = waits(1, "tp 0-1", 5, 12);
  other.operation = "tree_reduce_scatter_v";

  EXPECT_EQ(blamed({waits(0, "tp 0-1", 5, 9), other}), std::vector<int>{1});
}

TEST(Verdict, WithoutStepsTheOddOneIsOut) {
  EXPECT_EQ(blamed({waits(0, "world 0-3", 5, 0), waits(1, "world 0-3", 5, 0),
                    waits(2, "grid 0-3", 1, 0), waits(3, "world 0-3", 5, 0)}),
            std::vector<int>{2});
}

TEST(Verdict, ARankThatNeitherWaitsNorWorksIsNamed) {
  const Verdict verdict = judged({waits(0, "world 0-1", 5, 9), at_work(1, quiet)});

  EXPECT_EQ(verdict.ranks, std::vector<int>{1});
  EXPECT_NE(verdict.problem.find("rank 1 (host node1) has done nothing for 100 s"),
            std::string::npos)
      << verdict.problem;
}

TEST(Verdict, ARankWithoutAnAnswerIsNamedWhenItHasHadItsTime) {
  const Answers answers = {waits(0, "world 0-2", 5, 9), std::nullopt, at_work(2, 0)};

  EXPECT_TRUE(judged(answers, Silence::tolerated).ranks.empty());
  const Verdict verdict = judged(answers, Silence::judged);

  EXPECT_EQ(verdict.ranks, std::vector<int>{1});
  EXPECT_NE(verdict.problem.find("rank 1 (host node1) does not answer"), std::string::npos);
  EXPECT_NE(verdict.problem.find("rank 0 has waited 100 s in all_gather_v on world 0-2"),
            std::string::npos)
      << verdict.problem;
}

TEST(Verdict, ManySilentRanksAreNamedInOneShortLine) {
  Answers answers(64);
  answers[0] = waits(0, "world 0-63", 5, 9);

  const Verdict verdict = judged(answers, Silence::judged);

  EXPECT_EQ(verdict.ranks.size(), 63u);
  EXPECT_NE(verdict.problem.find("and 55 more do not answer"), std::string::npos);
  EXPECT_LT(verdict.problem.size(), 500u);
}

}  // namespace
}  // namespace tetrarch::watch
