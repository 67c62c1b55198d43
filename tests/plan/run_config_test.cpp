// The options that choose the outputs are read, and misspellings are refused.
// SPDX-License-Identifier: Apache-2.0
#include "plan/run_config.hpp"

#include "support.hpp"

namespace tetrarch::plan {
namespace {

using base::ExitCode;
using test::expect_says;
using test::refusal;

RunConfig config(const char* outputs, const char* layers = "final", const char* pooling = "none") {
  RunConfig config;
  config.outputs = outputs;
  config.hidden_layers = layers;
  config.hidden_pooling = pooling;
  return config;
}

Outputs resolve(const RunConfig& config) {
  return resolve_outputs(config, preset("tiny"));
}

std::string refusal_of(const RunConfig& config) {
  return refusal(ExitCode::usage, [&] { resolve(config); });
}

TEST(RunConfig, LogprobsAreTheDefault) {
  const Outputs outputs = resolve(RunConfig{});

  EXPECT_EQ(outputs, Outputs{});
  EXPECT_TRUE(outputs.logprobs);
}

TEST(RunConfig, OutputsAreThoseOfTheListAlone) {
  const Outputs outputs = resolve(config("experts,last_logits"));

  EXPECT_FALSE(outputs.logprobs);
  EXPECT_TRUE(outputs.last_logits);
  EXPECT_FALSE(outputs.hidden);
  EXPECT_TRUE(outputs.experts);
}

TEST(RunConfig, HiddenLayersAreSortedAndNamedByNumber) {
  using Layers = std::vector<std::int64_t>;

  EXPECT_EQ(resolve(config("hidden")).hidden_layers, (Layers{4}));
  EXPECT_EQ(resolve(config("hidden", "embed")).hidden_layers, (Layers{-1}));
  EXPECT_EQ(resolve(config("hidden", "all")).hidden_layers, (Layers{-1, 0, 1, 2, 3, 4}));
  EXPECT_EQ(resolve(config("hidden", "3,final,0,embed,3")).hidden_layers, (Layers{-1, 0, 3, 4}));
}

TEST(RunConfig, PoolingIsReadByName) {
  EXPECT_EQ(resolve(config("hidden", "final", "none")).pooling, Pooling::none);
  EXPECT_EQ(resolve(config("hidden", "final", "last")).pooling, Pooling::last);
  EXPECT_EQ(resolve(config("hidden", "final", "mean")).pooling, Pooling::mean);
}

TEST(RunConfig, WithoutHiddenItsOptionsLeaveNoTrace) {
  EXPECT_EQ(resolve(config("logprobs", "all", "mean")), Outputs{});
}

TEST(RunConfig, MisspellingsAreRefusedWithTheNearest) {
  expect_says(refusal_of(config("logprob")), "Did you mean logprobs?");
  expect_says(refusal_of(config("logprobs,last_logit")), "Did you mean last_logits?");
  expect_says(refusal_of(config("hidden", "embd")), "Did you mean embed?");
  expect_says(refusal_of(config("hidden", "final", "men")), "Did you mean mean?");
}

TEST(RunConfig, EmptyAndDoubledItemsAreRefused) {
  expect_says(refusal_of(config("")), "\"\" is not a valid value");
  expect_says(refusal_of(config("logprobs,")), "\"\" is not a valid value");
  expect_says(refusal_of(config("hidden", "0,,1")), "\"\" is not a valid value");
  expect_says(refusal_of(config("logprobs,logprobs")), "occurs twice");
}

TEST(RunConfig, EveryOutputHasItsName) {
  const auto flags = [](const Outputs& o) {
    return std::vector<bool>{o.logprobs, o.topk,    o.last_logits, o.hidden,
                             o.kv,       o.routing, o.experts};
  };
  const char* names[] = {"logprobs", "topk", "last_logits", "hidden", "kv", "routing", "experts"};

  for (std::size_t i = 0; i < 7; ++i) {
    std::vector<bool> expected(7);
    expected[i] = true;
    EXPECT_EQ(flags(resolve(config(names[i]))), expected) << names[i];
  }
  EXPECT_EQ(flags(resolve(config("experts,routing,kv,hidden,last_logits,topk,logprobs"))),
            std::vector<bool>(7, true));
}

TEST(RunConfig, TopKIsFromOneToTheVocabulary) {
  const auto with = [](std::int64_t top_k, const char* outputs = "topk") {
    RunConfig asked = config(outputs);
    asked.top_k_logprobs = top_k;
    return asked;
  };
  RunConfig of_many = with(100'000);
  ModelSpec large = preset("tiny");
  large.vocab_size = 100'000;

  EXPECT_EQ(resolve(config("topk")).top_k_logprobs, 5);
  EXPECT_EQ(resolve(with(1)).top_k_logprobs, 1);
  EXPECT_EQ(resolve(with(512)).top_k_logprobs, 512);
  expect_says(refusal_of(with(0)), "--top-k-logprobs: 0 is out of range");
  expect_says(refusal_of(with(513)), "Use 1 to 512.");
  EXPECT_EQ(resolve_outputs(of_many, large).top_k_logprobs, 100'000);
  of_many.top_k_logprobs = 100'001;
  expect_says(refusal(ExitCode::usage, [&] { resolve_outputs(of_many, large); }),
              "Use 1 to 100000.");
  EXPECT_EQ(resolve(with(513, "logprobs")), Outputs{});  // topk is not asked for
}

TEST(RunConfig, LayersThatTheModelLacksAreRefused) {
  expect_says(refusal_of(config("hidden", "4")), "4 is not a layer of this model. Use 0 to 3.");
  expect_says(refusal_of(config("hidden", "99999999999999999999")), "is not a layer of this model");
  expect_says(refusal_of(config("hidden", "-1")), "\"-1\" is not a valid value");
  expect_says(refusal_of(config("hidden", "1x")), "\"1x\" is not a valid value");
  expect_says(refusal_of(config("hidden", "1.5")), "\"1.5\" is not a valid value");
}

TEST(RunConfig, AllProblemsStandInOneMessage) {
  const std::string message = refusal_of([] {
    RunConfig asked = config("nothing,topk", "77", "median");
    asked.top_k_logprobs = 0;
    return asked;
  }());

  expect_says(message, "4 problems");
}

}  // namespace
}  // namespace tetrarch::plan
