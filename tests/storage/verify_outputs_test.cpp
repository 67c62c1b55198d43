// Checks of the order of /topk, and of /experts against the counts of /routing.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/verify_outputs.hpp"

#include <limits>

#include "run_fixture.hpp"

namespace tetrarch::storage {
namespace {

std::string of_topk(const std::vector<std::uint32_t>& ids, const std::vector<float>& logprobs) {
  return topk_problem(ids, logprobs, 100);
}

TEST(TopkProblem, FallingLogProbsAndRisingIdsAmongEqualsAreRight) {
  constexpr float impossible = -std::numeric_limits<float>::infinity();

  EXPECT_EQ(of_topk({7, 3, 99}, {-0.1f, -0.2f, -3}), "");
  EXPECT_EQ(of_topk({3, 7, 1}, {-0.1f, -0.1f, -3}), "");
  EXPECT_EQ(of_topk({3, 7, 8}, {0, impossible, impossible}), "");
  EXPECT_EQ(of_topk({0}, {0}), "");
}

TEST(TopkProblem, EveryOtherOrderIsNamed) {
  EXPECT_EQ(of_topk({7, 3}, {-0.2f, -0.1f}), "is not in order at places 0 and 1");
  EXPECT_EQ(of_topk({9, 7, 3}, {0, -0.1f, -0.1f}), "is not in order at places 1 and 2");
  EXPECT_EQ(of_topk({7, 7}, {-0.1f, -0.1f}), "is not in order at places 0 and 1");
}

TEST(TopkProblem, IdsAreThoseOfTheVocabularyEachOnce) {
  EXPECT_EQ(of_topk({7, 100}, {-0.1f, -0.2f}), "has id 100 at place 1, but vocab_size is 100");
  EXPECT_EQ(of_topk({0xffffffff}, {-0.1f}), "has id 4294967295 at place 0, but vocab_size is 100");
  EXPECT_EQ(of_topk({7, 3, 7}, {-0.1f, -0.2f, -0.3f}), "has an id twice");
}

/// Layer 0 is dense; layer 1 has 4 experts and top_k = 2. There are three tokens.
struct RoutingCheckTest : ::testing::Test {
  RoutingCheckTest() {
    spec.is_moe = {false, true};
    spec.num_experts = 4;
    spec.top_k = 2;
  }
  /// A check to which three tokens were added, with experts {0, 1}, {1, 3}, {3, 1}. So experts 0 to
  /// 3 have 1, 3, 0, 2 copies.
  RoutingCheck checked(std::int64_t num_ok = 3, std::int64_t num_tokens = 3) const {
    RoutingCheck check(spec, num_ok, num_tokens);
    for (const auto& experts : {std::vector<std::uint16_t>{0, 1}, {1, 3}, {3, 1}})
      EXPECT_EQ(check.add(1, experts), "");
    return check;
  }
  static std::string problem(const RoutingCheck& check,
                             const std::vector<std::uint64_t>& of_layer_1, std::uint64_t dropped,
                             bool has_experts = true) {
    std::vector<std::uint64_t> counts(4);
    counts.insert(counts.end(), of_layer_1.begin(), of_layer_1.end());
    return check.problem(counts, std::vector<std::uint64_t>{0, dropped}, has_experts);
  }
  plan::ModelSpec spec = small_spec();
};

TEST_F(RoutingCheckTest, ExpertsAreThoseOfTheLayerEachOnce) {
  RoutingCheck check(spec, 3, 3);

  EXPECT_EQ(check.add(0, std::vector<std::uint16_t>{0xffff, 0xffff}), "");
  EXPECT_EQ(check.add(0, std::vector<std::uint16_t>{0xffff, 1}), "has experts in a dense layer");
  EXPECT_EQ(check.add(1, std::vector<std::uint16_t>{1, 4}), "has expert 4, but the model has 4");
  EXPECT_EQ(check.add(1, std::vector<std::uint16_t>{0xffff, 0xffff}),
            "has expert 65535, but the model has 4");
  EXPECT_EQ(check.add(1, std::vector<std::uint16_t>{2, 2}), "has an expert twice");
}

TEST_F(RoutingCheckTest, CountsAreTheChoicesWithOrWithoutWhatWasDropped) {
  EXPECT_EQ(problem(checked(), {1, 3, 0, 2}, 0), "");
  EXPECT_EQ(problem(checked(), {1, 3, 0, 2}, 1), "");
  EXPECT_EQ(problem(checked(), {1, 2, 0, 2}, 1), "");
}

TEST_F(RoutingCheckTest, CountsThatDifferFromTheChoicesAreNamed) {
  EXPECT_EQ(problem(checked(), {1, 2, 0, 3}, 0),
            "layer 1 has 2 copies of tokens at expert 1, but 3 tokens chose it");
  EXPECT_EQ(problem(checked(), {2, 2, 0, 1}, 1),
            "layer 1 has 2 copies of tokens at expert 0, but 1 token chose it");
  EXPECT_EQ(problem(checked(), {1, 2, 0, 3}, 0, false), "");  // without /experts
}

TEST_F(RoutingCheckTest, SumsThatDoNotFitTheTokensAreNamed) {
  EXPECT_EQ(problem(checked(), {1, 2, 0, 2}, 0, false),
            "layer 1 has 5 copies of tokens at experts and 0 dropped, expected 6");
  EXPECT_NE(problem(checked(), {1, 4, 0, 2}, 0, false), "");
  EXPECT_NE(problem(checked(), {1, 3, 0, 2}, 7, false), "");
  EXPECT_NE(checked().problem(std::vector<std::uint64_t>{1, 0, 0, 0, 1, 3, 0, 2},
                              std::vector<std::uint64_t>{0, 0}, true),
            "");  // a count in the dense layer
}

TEST_F(RoutingCheckTest, SequencesThatTurnedOutNotFiniteMayHaveBeenCounted) {
  EXPECT_EQ(problem(checked(3, 5), {1, 3, 0, 2}, 0), "");
  EXPECT_EQ(problem(checked(3, 5), {2, 3, 3, 2}, 0), "");
  EXPECT_NE(problem(checked(3, 5), {2, 3, 4, 2}, 0), "");
  EXPECT_NE(problem(checked(3, 5), {1, 2, 0, 2}, 0), "");
}

}  // namespace
}  // namespace tetrarch::storage
