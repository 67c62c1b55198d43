// The lists of outputs are read as the command line writes them, and misspellings are refused.
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
  expect_says(refusal_of(config("")), "\"\" is no valid value");
  expect_says(refusal_of(config("logprobs,")), "\"\" is no valid value");
  expect_says(refusal_of(config("hidden", "0,,1")), "\"\" is no valid value");
  expect_says(refusal_of(config("logprobs,logprobs")), "stands twice");
}

TEST(RunConfig, OutputsToComeAreRefusedByName) {
  for (const char* name : {"topk", "kv", "routing"})
    expect_says(refusal_of(config(name)),
                std::string("\"") + name + "\" is not computed by this version");
}

TEST(RunConfig, LayersThatTheModelLacksAreRefused) {
  expect_says(refusal_of(config("hidden", "4")), "4 is no layer of this model. Use 0 to 3.");
  expect_says(refusal_of(config("hidden", "99999999999999999999")), "is no layer of this model");
  expect_says(refusal_of(config("hidden", "-1")), "\"-1\" is no valid value");
  expect_says(refusal_of(config("hidden", "1x")), "\"1x\" is no valid value");
  expect_says(refusal_of(config("hidden", "1.5")), "\"1.5\" is no valid value");
}

TEST(RunConfig, AllProblemsStandInOneMessage) {
  const std::string message = refusal_of(config("nothing,topk", "77", "median"));

  expect_says(message, "4 problems");
}

}  // namespace
}  // namespace tetrarch::plan
