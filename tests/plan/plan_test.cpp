// The whole plan: it has the same microbatches on every grid, and is refused, with the number of
// bytes, when it does not fit.
// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.hpp"

#include <chrono>

#include "support.hpp"

namespace tetrarch::plan {
namespace {

using base::ExitCode;
using test::expect_says;
using test::refusal;

std::vector<SequenceLength> equal_lengths(std::int64_t count, std::int64_t length) {
  std::vector<SequenceLength> sequences;
  for (std::int64_t i = 0; i < count; ++i)
    sequences.push_back({i, length});
  return sequences;
}

RunConfig with_tokens(std::int64_t tokens_per_microbatch) {
  RunConfig config;
  config.tokens_per_microbatch = tokens_per_microbatch;
  return config;
}

TEST(Plan, ThePartsAreThoseOfTheGridThatWasChosen) {
  const auto lengths = equal_lengths(64, 100);
  RunConfig config = with_tokens(1600);
  config.grid.dp = 1;

  const Plan plan = make_plan(config, preset("tiny"), 4, lengths, {64});

  EXPECT_EQ(plan.grid, (Grid{1, 1, 16, 4}));
  EXPECT_EQ(plan.reduction_shards, 4);
  EXPECT_EQ(plan.model, preset("tiny"));
  EXPECT_EQ(plan.outputs, Outputs{});
  EXPECT_EQ(plan.microbatches.size(), 4u);
  EXPECT_EQ(plan.extents.max_microbatch_tokens, 1600);
  EXPECT_EQ(plan.extents.max_pass_tokens, 100);
  EXPECT_EQ(plan.extents.max_home_tokens, 25);
  EXPECT_EQ(plan.memory.round_rows, 400);
  EXPECT_FALSE(plan.grid_reason.empty());
}

TEST(Plan, MicrobatchesAreTheSameOnEveryGrid) {
  const auto lengths = equal_lengths(50, 77);
  const Plan one = make_plan(with_tokens(500), preset("tiny"), 4, lengths, {1});
  for (const int num_ranks : {2, 4, 8, 16, 32, 64}) {
    const Plan many = make_plan(with_tokens(500), preset("tiny"), 4, lengths, {num_ranks});

    ASSERT_EQ(many.microbatches.size(), one.microbatches.size());
    for (std::size_t i = 0; i < one.microbatches.size(); ++i) {
      EXPECT_EQ(many.microbatches[i].num_tokens, one.microbatches[i].num_tokens);
      EXPECT_EQ(many.microbatches[i].sequences.front().sequence,
                one.microbatches[i].sequences.front().sequence);
    }
  }
}

TEST(Plan, NothingToDoIsAPlanToo) {
  const Plan plan = make_plan(RunConfig{}, preset("tiny"), 4, {}, {4});

  EXPECT_TRUE(plan.microbatches.empty());
  EXPECT_EQ(plan.extents.max_pass_tokens, 0);
  EXPECT_GT(plan.memory.weight_bytes, 0);
}

TEST(Plan, MemoryIsThatOfTheRankThatNeedsMost) {
  ModelSpec spec = preset("tiny");
  spec.vocab_size = 509;
  const auto lengths = equal_lengths(4, 10);

  RunConfig config;
  config.grid.tp = 4;
  const Plan plan = make_plan(config, spec, 4, lengths, {4});

  for (int tp_rank = 0; tp_rank < 4; ++tp_rank)
    EXPECT_GE(plan.memory.total_bytes(), plan_memory(spec, 4, plan.grid, {0, 0, 0, tp_rank},
                                                     memory_request(config, plan, plan.extents))
                                             .total_bytes());
}

TEST(Plan, TooLittleMemoryIsRefusedByHowManyBytes) {
  const auto lengths = equal_lengths(64, 100);
  const std::int64_t needed =
      make_plan(with_tokens(6400), preset("tiny"), 4, lengths, {1}).memory.total_bytes();

  const std::string message = refusal(ExitCode::resources, [&] {
    make_plan(with_tokens(6400), preset("tiny"), 4, lengths, {1, needed - 123});
  });

  expect_says(message, "0.01 MiB more than the");
  expect_says(message, "--tokens-per-microbatch 3200");
  for (const char* other_unit : {" B ", " B,", "bytes", "KiB", "GiB"})
    EXPECT_EQ(message.find(other_unit), std::string::npos) << message;
}

TEST(Plan, LabelsOfAllSequencesCountAgainstTheLimit) {
  const auto lengths = equal_lengths(64, 100);
  const auto plan_with = [&](std::int64_t limit, std::int64_t label_bytes) {
    return make_plan(with_tokens(6400), preset("tiny"), 4, lengths,
                     {1, limit, {}, {.labels = label_bytes}});
  };
  const MemoryPlan without = plan_with(0, 0).memory;

  const MemoryPlan with = plan_with(0, 1 << 20).memory;
  const std::string message = refusal(
      ExitCode::resources, [&] { plan_with(without.total_bytes() + (1 << 20) - 123, 1 << 20); });

  EXPECT_EQ(without.label_bytes, 24);  // sizeof(Microbatch): there is one
  EXPECT_EQ(with.label_bytes, without.label_bytes + (1 << 20));
  EXPECT_EQ(with.tensor_bytes(), without.tensor_bytes());
  EXPECT_EQ(with.total_bytes(), without.total_bytes() + (1 << 20));
  expect_says(message, "0.01 MiB more");
  expect_says(message, "ids and lengths 1.01 MiB");
}

TEST(Plan, LabelsThatDoNotFitNeedSeveralRuns) {
  const auto lengths = equal_lengths(64, 100);

  const std::string message = refusal(ExitCode::resources, [&] {
    make_plan(with_tokens(100), preset("tiny"), 4, lengths,
              {1, 32 << 20, {}, {.labels = 32 << 20}});
  });

  expect_says(message, "The ids, offsets and lengths of all sequences");
  expect_says(message, "several runs");
}

TEST(Plan, WhatWritersAndResultsTakeCounts) {
  const auto lengths = equal_lengths(64, 100);
  const auto plan_with = [&](FileBytes files) {
    return make_plan(with_tokens(6400), preset("tiny"), 4, lengths, {1, 0, {}, files}).memory;
  };
  const MemoryPlan none = plan_with({});

  EXPECT_EQ(plan_with({.writer = 1000}).total_bytes(), none.total_bytes() + 1000);
  EXPECT_EQ(plan_with({.loading = 1000, .results = 1000}).total_bytes(), none.total_bytes());
  for (const FileBytes files : {FileBytes{.loading = 1 << 30}, FileBytes{.results = 1 << 30}})
    EXPECT_EQ(plan_with(files).total_bytes(),
              none.weight_bytes + none.label_bytes + (std::int64_t{1} << 30));
  EXPECT_EQ(plan_with({.ids = 1000}).total_bytes(), none.total_bytes() + 1000);
}

TEST(Plan, WhatOnlyRank0HoldsIsSharedOutAmongTheRanksOfItsNode) {
  const auto lengths = equal_lengths(64, 100);
  const FileBytes files{.ids = 800 << 20, .results = std::int64_t{8} << 30, .ranks_of_node = 8};

  const Plan plan = make_plan(with_tokens(100), preset("tiny"), 4, lengths,
                              {8, std::int64_t{2} << 30, {}, files});

  EXPECT_GT(plan.memory.needed_bytes(), (std::int64_t{1} << 30) + (100 << 20));
  EXPECT_LT(plan.memory.needed_bytes(), std::int64_t{2} << 30);
  expect_says(to_string(plan.memory), "ids and lengths 100.");
  expect_says(to_string(plan.memory), "writing results 1.00 GiB (8.00 GiB on rank 0");
}

TEST(Plan, TheListOfMicrobatchesCounts) {
  const auto lengths = equal_lengths(64, 100);

  EXPECT_EQ(make_plan(with_tokens(100), preset("tiny"), 4, lengths, {1}).memory.label_bytes,
            64 * 24);
}

TEST(Plan, WhatTheRefusalAdvisesFits) {
  const auto lengths = equal_lengths(64, 100);
  const std::int64_t needed =
      make_plan(with_tokens(6400), preset("tiny"), 4, lengths, {1}).memory.total_bytes();

  EXPECT_NO_THROW(make_plan(with_tokens(3200), preset("tiny"), 4, lengths, {1, needed - 123}));
  EXPECT_NO_THROW(make_plan(with_tokens(6400), preset("tiny"), 4, lengths, {1, needed}));
}

TEST(Plan, WeightsThatDoNotFitNeedMoreRanks) {
  const auto lengths = equal_lengths(4, 100);

  const std::string message = refusal(ExitCode::resources, [&] {
    make_plan(RunConfig{}, preset("tetrarch-64"), 4, lengths, {1, std::int64_t{64} << 30});
  });

  expect_says(message, "Start 2 ranks on more nodes");
}

TEST(Plan, ALongSequenceFitsInChunks) {
  const auto lengths = equal_lengths(1, 5000);
  RunConfig config = with_tokens(5000);
  const std::int64_t needed =
      make_plan(config, preset("tiny"), 4, lengths, {1}).memory.total_bytes();

  const std::string message = refusal(ExitCode::resources, [&] {
    make_plan(config, preset("tiny"), 4, lengths, {1, needed - 1});
  });

  expect_says(message, "--tokens-per-microbatch 2500");
  expect_says(message, "chunks");
  EXPECT_NO_THROW(make_plan(with_tokens(2500), preset("tiny"), 4, lengths, {1, needed - 1}));
  config.chunk_tokens = 100;
  EXPECT_NO_THROW(make_plan(config, preset("tiny"), 4, lengths, {1, needed / 2}));
}

TEST(Plan, ASequenceThatIsTooLongForOneRankNeedsMoreOfThem) {
  const auto lengths = equal_lengths(1, 5000);
  RunConfig config = with_tokens(5000);
  config.capacity_factor = 1;  // no sequence passes in chunks
  const std::int64_t needed =
      make_plan(config, preset("tiny"), 4, lengths, {1}).memory.total_bytes();

  const std::string message = refusal(ExitCode::resources, [&] {
    make_plan(config, preset("tiny"), 4, lengths, {1, needed - 1});
  });

  EXPECT_EQ(message.find("--tokens-per-microbatch"), std::string::npos) << message;
  expect_says(message, "2 ranks on more nodes");
  EXPECT_NO_THROW(make_plan(config, preset("tiny"), 4, lengths, {2, needed - 1}));
}

TEST(Plan, WithACapacityFactorMicrobatchesStayAsTheyWere) {
  const auto all = equal_lengths(9, 40);
  RunConfig config = with_tokens(100);
  config.capacity_factor = 1;
  const Plan whole = make_plan(config, preset("tiny"), 4, all, {1});
  std::vector<SequenceLength> left(all.begin(),
                                   all.end());  // microbatches of 2: the second is done
  left.erase(left.begin() + 2, left.begin() + 4);

  const Plan rest = make_plan(config, preset("tiny"), 4, left, {1}, all);

  ASSERT_EQ(whole.microbatches.size(), 5u);
  ASSERT_EQ(rest.microbatches.size(), 4u);
  EXPECT_EQ(rest.microbatches[0].sequences[1].sequence, 1);
  EXPECT_EQ(rest.microbatches[1].sequences[0].sequence, 4);
}

TEST(Plan, ALargerTpIsChosenWhenMemoryAsksForIt) {
  const auto lengths = equal_lengths(16, 64);
  const auto bytes_at = [&](int tp) {
    RunConfig config = with_tokens(64);
    config.grid.tp = tp;
    return make_plan(config, preset("mixtral-8x7b"), 4, lengths, {8}).memory.total_bytes();
  };
  ASSERT_LT(bytes_at(4), bytes_at(1));

  const Plan plan =
      make_plan(with_tokens(64), preset("mixtral-8x7b"), 4, lengths, {8, bytes_at(4)});

  EXPECT_EQ(plan.memory.total_bytes(), bytes_at(plan.grid.tp));
  EXPECT_GT(plan.grid.tp, 1);
}

TEST(Plan, BadSettingsAreRefused) {
  expect_says(
      refusal(ExitCode::usage, [] { make_plan(with_tokens(0), preset("tiny"), 4, {}, {1}); }),
      "--tokens-per-microbatch 0");
  expect_says(
      refusal(ExitCode::weights, [] { make_plan(RunConfig{}, preset("tiny"), 3, {}, {1}); }),
      "reduction_shards = 3");
  RunConfig one_instance;
  one_instance.grid.dp = 1;
  expect_says(
      refusal(ExitCode::usage, [&] { make_plan(one_instance, preset("tiny"), 4, {}, {5}); }),
      "5 ranks");
}

TEST(Plan, AMillionSequencesArePlannedInSeconds) {
  std::vector<SequenceLength> lengths = equal_lengths(1'000'000, 1);
  for (std::size_t i = 0; i < lengths.size(); ++i)
    lengths[i].length = 1 + static_cast<std::int64_t>(i * 7919 % 501);
  const auto start = std::chrono::steady_clock::now();

  const Plan plan = make_plan(with_tokens(65536), preset("tiny"), 4, lengths, {64});

  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_GT(plan.microbatches.size(), 3000u);
  EXPECT_LT(seconds.count(), 20);
}

Outputs no_outputs() {
  Outputs outputs;
  outputs.logprobs = false;
  return outputs;
}

/// FLOPs of all rows of all layers, and of `head_rows` rows of logits.
double sequence_flops(const ModelSpec& spec, std::int64_t length, std::int64_t head_rows) {
  Outputs outputs = no_outputs();
  const Depth depth{spec.num_layers, RowsWanted::all, false, false, false};
  const double layers = plan::sequence_flops(spec, outputs, depth, length, length);
  outputs.logprobs = head_rows > 0;
  const double logits =
      plan::sequence_flops(spec, outputs, depth, head_rows + 1, head_rows + 1) -
      plan::sequence_flops(spec, no_outputs(), depth, head_rows + 1, head_rows + 1);
  return layers + logits;
}

TEST(Plan, ALastTokenThatIsOnlyScoredCostsNothing) {
  const ModelSpec spec = preset("tiny");
  Outputs scores, all = no_outputs();
  all.topk = true;

  EXPECT_EQ(
      plan::sequence_flops(spec, scores, {4, RowsWanted::predicting, false, true, true}, 6, 5),
      plan::sequence_flops(spec, all, {4, RowsWanted::all, false, true, true}, 5, 5));
}

TEST(Plan, FlopsOfASequenceAreItsProducts) {
  const ModelSpec spec = preset("tiny");

  // FLOPs of one token in one layer: q, k, v, o; router; 2 experts of 3 matrices
  const double token = 2.0 * 64 * (64 + 32 + 32 + 64) + 2.0 * 64 * 16 + 2.0 * 2 * 3 * 64 * 32;
  const double pairs = 5 * 6 / 2;
  const double attention = 2.0 * 2 * 8 * 8 * pairs;
  EXPECT_DOUBLE_EQ(sequence_flops(spec, 5, 0), 4 * (5 * token + attention));
  EXPECT_DOUBLE_EQ(sequence_flops(spec, 5, 3) - sequence_flops(spec, 5, 0), 3 * 2.0 * 64 * 512);
  EXPECT_EQ(sequence_flops(spec, 0, 0), 0);
}

TEST(Plan, AWindowLeavesOutThePairsThatItHides) {
  ModelSpec spec = preset("tiny");
  const double full = sequence_flops(spec, 10, 0);
  spec.window = {3, 0, 0};

  // the window of the first layer allows 1 + 2 + 3 * 8 of the 55 pairs
  EXPECT_DOUBLE_EQ(full - sequence_flops(spec, 10, 0), 4.0 * 64 * (55 - 27));
  spec.window = {10, 11, 0};
  EXPECT_DOUBLE_EQ(sequence_flops(spec, 10, 0), full);
}

TEST(Plan, ADenseLayerCostsItsOneFfnAndNoRouter) {
  ModelSpec spec = preset("tiny");
  const double before = sequence_flops(spec, 5, 0);
  spec.is_moe[1] = false;
  spec.dense_ffn = 96;

  const double experts = 2.0 * 64 * 16 + 2.0 * 2 * 3 * 64 * 32;
  EXPECT_DOUBLE_EQ(sequence_flops(spec, 5, 0) - before, 5 * (2.0 * 3 * 64 * 96 - experts));
}

TEST(Plan, RowsThatNobodyNeedsCostKeysAloneInTheDeepestLayer) {
  const ModelSpec spec = preset("tiny");
  const Outputs none = no_outputs();
  const auto flops = [&](RowsWanted rows, bool has_routing = false) {
    return plan::sequence_flops(spec, none, {4, rows, has_routing, false, false}, 5, 5);
  };
  const double keys = 2.0 * 64 * (32 + 32), experts = 2.0 * 2 * 3 * 64 * 32;
  const double rest = 2.0 * 64 * (64 + 64) + 2.0 * 64 * 16 + experts;
  const double pair = 4.0 * 64, whole = flops(RowsWanted::all);

  EXPECT_DOUBLE_EQ(whole - flops(RowsWanted::none), 5 * rest + 15 * pair);
  EXPECT_DOUBLE_EQ(whole - flops(RowsWanted::last), 4 * rest + 10 * pair);
  EXPECT_DOUBLE_EQ(whole - flops(RowsWanted::predicting), rest + 5 * pair);
  EXPECT_DOUBLE_EQ(whole - flops(RowsWanted::none, true), 5 * experts);
  EXPECT_DOUBLE_EQ(
      flops(RowsWanted::none) -
          plan::sequence_flops(spec, none, {3, RowsWanted::all, false, false, false}, 5, 5),
      5 * keys);
}

TEST(Plan, TwoMatrixExpertsCostTwoProducts) {
  ModelSpec spec = preset("tiny");
  const double glu = sequence_flops(spec, 1, 0);
  spec.expert_kind = ExpertKind::mlp;

  EXPECT_DOUBLE_EQ(glu - sequence_flops(spec, 1, 0), 4 * 2 * 2.0 * 64 * 32);
}

}  // namespace
}  // namespace tetrarch::plan
