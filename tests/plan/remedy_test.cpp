// When a plan does not fit, every change that is advised makes it fit.
// SPDX-License-Identifier: Apache-2.0
#include "plan/remedy.hpp"

#include <gtest/gtest.h>

namespace tetrarch::plan {
namespace {

constexpr std::int64_t limit = 1000;

/// 64 ranks with the preset tiny on ep 16 x tp 4, which need more than the limit.
struct RemedyTest : ::testing::Test {
  Remedies found(const BytesOf& bytes_of) { return find_remedies(now, request, bytes_of); }

  ModelSpec spec = preset("tiny");
  Choice now{{1, 1, 16, 4}, 4096, 4096, {}};
  RemedyRequest request{spec, 4, limit, 600, false, 0};
};

TEST_F(RemedyTest, TheLargestPartOfTheTokensThatFits) {
  const Remedies remedies =
      found([](const Choice& choice) { return choice.tokens_per_microbatch - 24; });

  EXPECT_EQ(remedies.tokens_per_microbatch, 1024);
  EXPECT_EQ(remedies.chunk_tokens, 0);
  EXPECT_TRUE(remedies.outputs.empty());
  EXPECT_FALSE(remedies.grid.has_value());
  EXPECT_EQ(remedies.more_ranks, 0);
  EXPECT_EQ(to_string(remedies, request).substr(0, 33), "Use --tokens-per-microbatch 1024,");
}

TEST_F(RemedyTest, ChunksHelpWhereOneSequenceIsTooLong) {
  request.longest = 5000;
  const Remedies remedies = found([](const Choice& choice) { return 4 * choice.chunk_tokens; });

  EXPECT_EQ(remedies.tokens_per_microbatch, 0 * 4096 + 128);  // chunks then have 128 tokens too
  request.has_capacity = true;
  EXPECT_EQ(found([](const Choice& choice) { return 4 * choice.chunk_tokens; }).chunk_tokens, 0);
}

TEST_F(RemedyTest, ChunksAloneAreAdvisedWhereFewerTokensDoNotHelp) {
  const Remedies remedies = found([&](const Choice& choice) {
    return choice.tokens_per_microbatch < 4096 ? 2 * limit : choice.chunk_tokens * 4;
  });

  EXPECT_EQ(remedies.tokens_per_microbatch, 0);
  EXPECT_EQ(remedies.chunk_tokens, 150);  // a quarter of the longest sequence
}

TEST_F(RemedyTest, OnlyOutputsThatMustGoAreLeftOut) {
  now.outputs.kv = now.outputs.hidden = now.outputs.topk = true;
  const Remedies remedies = found([](const Choice& choice) {
    return 500 + 400 * choice.outputs.kv + 400 * choice.outputs.topk + 50 * choice.outputs.hidden;
  });

  EXPECT_EQ(remedies.outputs, (std::vector<std::string>{"topk"}));
  EXPECT_TRUE(to_string(remedies, request).starts_with("Leave topk out of --outputs"));
}

TEST_F(RemedyTest, SomethingMustBeLeftToCompute) {
  now.outputs.logprobs = false;
  now.outputs.kv = true;

  EXPECT_TRUE(found([](const Choice& choice) {
                return choice.outputs.kv ? 2 * limit : limit;
              }).outputs.empty());
}

TEST_F(RemedyTest, AnotherGridOfTheSameRanksComesBeforeMoreOfThem) {
  now.grid = {16, 1, 4, 1};
  const Remedies remedies = found(
      [](const Choice& choice) { return 4000 / choice.grid.tp / std::min(choice.grid.ep, 4); });

  ASSERT_TRUE(remedies.grid.has_value());
  EXPECT_EQ(remedies.grid->ep, 16);
  EXPECT_EQ(remedies.grid->size(), 64);
  EXPECT_EQ(remedies.fewer_ranks, 0);
  EXPECT_EQ(remedies.more_ranks, 0);
}

TEST_F(RemedyTest, WhatEachRankNeedsAnewAsksForFewerRanksOnANode) {
  const Remedies remedies =
      found([](const Choice& choice) { return 3000 + 512 / choice.grid.size(); });

  EXPECT_EQ(remedies.fewer_ranks, 16);  // each may then use 4000 bytes
  EXPECT_EQ(remedies.more_ranks, 0);
  EXPECT_NE(to_string(remedies, request).find("16 ranks on the same nodes"), std::string::npos);
}

TEST_F(RemedyTest, WhatRanksShareAsksForMoreNodes) {
  now.grid = {1, 1, 1, 1};
  const Remedies remedies =
      found([](const Choice& choice) { return 7000 / (choice.grid.ep * choice.grid.tp); });

  EXPECT_EQ(remedies.more_ranks, 8);
  EXPECT_NE(to_string(remedies, request).find("8 ranks on more nodes"), std::string::npos);
}

TEST_F(RemedyTest, WhatNothingHelpsIsNamed) {
  const Remedies remedies = found([](const Choice&) { return limit * 1000; });

  EXPECT_NE(to_string(remedies, request).find("longest sequence (600 tokens)"), std::string::npos);
  request.fixed_bytes = limit;
  EXPECT_NE(to_string(remedies, request).find("several runs"), std::string::npos);
}

}  // namespace
}  // namespace tetrarch::plan
