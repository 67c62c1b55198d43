// Which layers and rows the outputs need, and which weights a stage then holds.
// SPDX-License-Identifier: Apache-2.0
#include "plan/depth.hpp"

#include "support.hpp"

namespace tetrarch::plan {
namespace {

Depth depth(const std::string& outputs, const std::string& layers = "final",
            const std::string& pooling = "none", double capacity = 0) {
  RunConfig config;
  config.outputs = outputs;
  config.hidden_layers = layers;
  config.hidden_pooling = pooling;
  const ModelSpec spec = preset("tiny");
  return depth_of(resolve_outputs(config, spec), spec.num_layers, capacity);
}

TEST(Depth, EachOutputWantsItsRows) {
  EXPECT_EQ(depth("logprobs"), (Depth{4, RowsWanted::predicting, false, true, true}));
  EXPECT_EQ(depth("last_logits"), (Depth{4, RowsWanted::last, false, true, true}));
  EXPECT_EQ(depth("topk"), (Depth{4, RowsWanted::all, false, true, true}));
  EXPECT_EQ(depth("kv"), (Depth{4, RowsWanted::none, false, false, false}));
  EXPECT_EQ(depth("routing"), (Depth{4, RowsWanted::none, true, false, false}));
  EXPECT_EQ(depth("experts"), (Depth{4, RowsWanted::none, true, false, false}));
  EXPECT_EQ(depth("hidden"), (Depth{4, RowsWanted::all, false, true, false}));
  EXPECT_EQ(depth("hidden", "final", "last"), (Depth{4, RowsWanted::last, false, true, false}));
  EXPECT_EQ(depth("hidden", "final", "mean"), (Depth{4, RowsWanted::all, false, true, false}));
}

TEST(Depth, OnlyLogProbsDoWithoutTheLastRow) {
  const auto scores_alone = [](const char* outputs) {
    RunConfig config;
    config.outputs = outputs;
    return only_scores(resolve_outputs(config, preset("tiny")));
  };

  EXPECT_TRUE(scores_alone("logprobs"));
  for (const char* outputs : {"topk", "logprobs,topk", "logprobs,last_logits", "logprobs,hidden",
                              "logprobs,kv", "logprobs,routing", "logprobs,experts"})
    EXPECT_FALSE(scores_alone(outputs)) << outputs;
}

TEST(Depth, OutputsTogetherWantWhatEachWants) {
  EXPECT_EQ(depth("logprobs,last_logits").rows, RowsWanted::all);
  EXPECT_EQ(depth("last_logits,hidden", "final", "last").rows, RowsWanted::last);
  EXPECT_EQ(depth("kv,last_logits").rows, RowsWanted::last);
  EXPECT_EQ(depth("routing,last_logits"), (Depth{4, RowsWanted::all, true, true, true}));
}

TEST(Depth, LayersBeyondTheDeepestHiddenStateAreNotBegun) {
  EXPECT_EQ(depth("hidden", "embed"), (Depth{0, RowsWanted::none, false, false, false}));
  EXPECT_EQ(depth("hidden", "0,2"), (Depth{3, RowsWanted::all, false, false, false}));
  EXPECT_EQ(depth("hidden", "2", "last"), (Depth{3, RowsWanted::last, false, false, false}));
  EXPECT_EQ(depth("hidden,logprobs", "0"), (Depth{4, RowsWanted::predicting, false, true, true}));
}

TEST(Depth, WithACapacityFactorEveryRowCompetes) {
  EXPECT_EQ(depth("logprobs", "final", "none", 1).rows, RowsWanted::all);
  EXPECT_EQ(depth("kv", "final", "none", 1).rows, RowsWanted::none);
}

TEST(Depth, RowsOfARunCountFromItsFirst) {
  const SequenceSpan first{0, 0, 3, 5}, last{0, 3, 2, 5};

  EXPECT_EQ(wanted_rows(first, RowsWanted::all), (Range{0, 3}));
  EXPECT_EQ(wanted_rows(first, RowsWanted::predicting), (Range{0, 3}));
  EXPECT_EQ(wanted_rows(first, RowsWanted::last).size(), 0);
  EXPECT_EQ(wanted_rows(first, RowsWanted::none).size(), 0);
  EXPECT_EQ(wanted_rows(last, RowsWanted::predicting), (Range{0, 1}));
  EXPECT_EQ(wanted_rows(last, RowsWanted::last), (Range{1, 2}));
}

TEST(Depth, TheStagesHoldEachWeightOnce) {
  const ModelSpec spec = preset("tiny");
  for (const int pp : {1, 2, 3, 4}) {
    const Depth whole{4, RowsWanted::all, false, true, true};
    for (const TensorSpec& tensor : tensors_of(spec, 4)) {
      int holders = 0;
      for (int stage = 0; stage < pp; ++stage)
        holders += is_held(tensor, spec, held_by(whole, pp, stage));
      EXPECT_EQ(holders, 1) << tensor.path << " pp " << pp;
    }
  }
}

TEST(Depth, FewLayersStandInTheLastStages) {
  const Depth one{1, RowsWanted::all, false, false, false};

  EXPECT_EQ(held_by(one, 3, 0).layers.size(), 0);
  EXPECT_EQ(held_by(one, 3, 1).layers.size(), 0);
  EXPECT_EQ(held_by(one, 3, 2).layers, (Range{0, 1}));
}

}  // namespace
}  // namespace tetrarch::plan
