// Sizes that are out of range or contradict each other, and bad reduction shards, are refused.
// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <limits>
#include <vector>

#include "plan/model_spec.hpp"
#include "support.hpp"

namespace tetrarch::plan {
namespace {

using base::ExitCode;
using test::expect_says;
using test::refusal;
using test::with_heads;

constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();

struct Spoiled {
  const char* words;
  std::function<void(ModelSpec&)> spoil;
};

void expect_refused(const std::vector<Spoiled>& cases) {
  for (const Spoiled& spoiled : cases) {
    ModelSpec spec = preset("tiny");
    spoiled.spoil(spec);

    expect_says(refusal(ExitCode::weights, [&] { validate(spec, "w.h5"); }), spoiled.words);
  }
}

TEST(Validate, EveryPresetIsValid) {
  for (const std::string& name : preset_names())
    EXPECT_NO_THROW(validate(preset(name), name));
}

TEST(Validate, SizesOutOfRangeAreRefused) {
  for (const std::int64_t bad : {std::int64_t{0}, std::int64_t{-1}, (std::int64_t{1} << 31) + 1,
                                 huge, std::numeric_limits<std::int64_t>::min()}) {
    expect_refused({{"vocab_size", [&](ModelSpec& s) { s.vocab_size = bad; }},
                    {"num_layers", [&](ModelSpec& s) { s.num_layers = bad; }},
                    {"hidden_size", [&](ModelSpec& s) { s.hidden_size = bad; }},
                    {"max_position", [&](ModelSpec& s) { s.max_position = bad; }},
                    {"attention.num_heads", [&](ModelSpec& s) { s.num_heads = bad; }},
                    {"attention.num_kv_heads", [&](ModelSpec& s) { s.num_kv_heads = bad; }},
                    {"attention.head_dim", [&](ModelSpec& s) { s.head_size = bad; }},
                    {"moe.num_experts", [&](ModelSpec& s) { s.num_experts = bad; }},
                    {"moe.top_k", [&](ModelSpec& s) { s.top_k = bad; }},
                    {"moe.expert_ffn", [&](ModelSpec& s) { s.expert_ffn = bad; }}});
  }
}

TEST(Validate, CountsHaveBoundsOfTheirOwn) {
  expect_refused({{"num_layers = 4097", [](ModelSpec& s) { s.num_layers = 4097; }},
                  {"moe.num_experts = 1025", [](ModelSpec& s) { s.num_experts = 1025; }},
                  {"moe.top_k = 65", [](ModelSpec& s) { s.top_k = 65; }}});
}

TEST(Validate, NumbersThatSpoilTheArithmeticAreRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double bad : {0.0, -1.0, nan, infinity}) {
    expect_refused({{"norm.eps", [&](ModelSpec& s) { s.norm_eps = bad; }},
                    {"attention.scale", [&](ModelSpec& s) { s.attention_scale = bad; }},
                    {"rope.theta", [&](ModelSpec& s) { s.rope_theta = bad; }},
                    {"moe.router.scale", [&](ModelSpec& s) { s.router_scale = bad; }}});
  }
}

TEST(Validate, SizesAtOddsWithEachOtherAreRefused) {
  expect_refused(
      {{"num_heads = 8 is not a multiple", [](ModelSpec& s) { s.num_kv_heads = 3; }},
       {"num_heads = 8 is not a multiple", [](ModelSpec& s) { s.num_kv_heads = 16; }},
       {"rope.dim = 7", [](ModelSpec& s) { s.rope_dim = 7; }},
       {"rope.dim = 10", [](ModelSpec& s) { s.rope_dim = 10; }},
       {"rope.dim = 0", [](ModelSpec& s) { s.rope_dim = 0; }},
       {"top_k = 17 exceeds", [](ModelSpec& s) { s.top_k = 17; }},
       {"window has 3 entries", [](ModelSpec& s) { s.window.pop_back(); }},
       {"window has -1", [](ModelSpec& s) { s.window[2] = -1; }},
       {"is_moe has 5 entries", [](ModelSpec& s) { s.is_moe.push_back(true); }},
       {"moe.dense_ffn = 0 is out of range", [](ModelSpec& s) { s.is_moe[1] = false; }},
       {"moe.dense_ffn = 64, but no layer is dense", [](ModelSpec& s) { s.dense_ffn = 64; }},
       {"family", [](ModelSpec& s) { s.family = "line\nbreak"; }},
       {"family", [](ModelSpec& s) { s.family = ""; }}});
}

TEST(Validate, AScaledRopeThatCannotBeComputedIsRefused) {
  const auto yarn = [](ModelSpec& spec) -> RopeScaling& {
    spec.rope_type = RopeType::yarn;
    spec.rope_scaling.factor = 4;
    spec.rope_scaling.orig_max = 2048;
    return spec.rope_scaling;
  };
  const auto llama3 = [&](ModelSpec& spec) -> RopeScaling& {
    yarn(spec).high_freq_factor = 4;
    spec.rope_type = RopeType::llama3;
    return spec.rope_scaling;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  expect_refused(
      {{"rope.factor = 0", [&](ModelSpec& s) { yarn(s).factor = 0; }},
       {"rope.factor = nan", [&](ModelSpec& s) { llama3(s).factor = nan; }},
       {"rope.factor = -2",
        [&](ModelSpec& s) {
          s.rope_type = RopeType::linear;
          s.rope_scaling.factor = -2;
        }},
       {"rope.orig_max = 0", [&](ModelSpec& s) { yarn(s).orig_max = 0; }},
       {"rope.beta_slow = 32 is not below rope.beta_fast = 32",
        [&](ModelSpec& s) { yarn(s).beta_slow = 32; }},
       {"rope.high_freq_factor", [&](ModelSpec& s) { llama3(s).high_freq_factor = nan; }},
       {"rope.low_freq_factor = 5 is not below",
        [&](ModelSpec& s) { llama3(s).low_freq_factor = 5; }},
       {"rope.theta = 1 is too small",
        [&](ModelSpec& s) {
          yarn(s);
          s.rope_theta = 1;
        }},
       {"rope.attention_factor = -1", [&](ModelSpec& s) { yarn(s).attention_factor = -1; }},
       {"rope.mscale = nan", [&](ModelSpec& s) { yarn(s).mscale = nan; }},
       {"rope.mscale_all_dim", [&](ModelSpec& s) { yarn(s).mscale_all_dim = -1; }}});
}

TEST(Validate, SizesInRangeWhoseProductOverflowsAreRefused) {
  const std::int64_t largest = std::int64_t{1} << 31;
  expect_refused({{"parameters are too many",
                   [&](ModelSpec& s) {
                     s.hidden_size = largest;
                     s.expert_ffn = largest;
                     s.num_experts = 1024;
                   }},
                  {"parameters are too many",
                   [&](ModelSpec& s) {
                     s.hidden_size = largest;
                     s.vocab_size = largest;
                   }},
                  {"times head_dim", [&](ModelSpec& s) {
                     s.num_heads = largest;
                     s.num_kv_heads = 1;
                     s.head_size = largest;
                   }}});
}

TEST(Validate, AllProblemsStandInOneMessage) {
  ModelSpec spec = preset("tiny");
  spec.vocab_size = 0;
  spec.top_k = 0;
  spec.window.clear();

  const std::string message = refusal(ExitCode::weights, [&] { validate(spec, "w.h5"); });

  expect_says(message, "3 problems");
}

TEST(Validate, TheDefaultNumberOfShardsIsTheLargestThatTheRulesAllow) {
  ModelSpec six_wide = with_heads(8, 4);
  six_wide.expert_ffn = 30;

  EXPECT_EQ(default_reduction_shards(preset("tiny")), 4);
  EXPECT_EQ(default_reduction_shards(with_heads(6, 6)), 2);
  EXPECT_EQ(default_reduction_shards(with_heads(7, 1)), 1);
  EXPECT_EQ(default_reduction_shards(with_heads(12, 3)), 1);  // neither 4 nor 2 fits 3 kv heads
  EXPECT_EQ(default_reduction_shards(six_wide), 2);
}

TEST(Validate, ShardsThatBreakARuleAreRefusedWithThoseThatDoNot) {
  const auto message = [](const ModelSpec& spec, std::int64_t shards) {
    return refusal(ExitCode::usage, [&] { check_reduction_shards(spec, shards, ExitCode::usage); });
  };
  ModelSpec narrow = preset("tiny");
  narrow.expert_ffn = 36;
  ModelSpec few_words = preset("tiny");
  few_words.vocab_size = 3;

  expect_says(message(preset("tiny"), 3), "is none of 1, 2, 4, 8");
  expect_says(message(preset("tiny"), 0), "Use 1 or 2 or 4 or 8.");
  expect_says(message(with_heads(4, 4), 8), "does not divide num_heads = 4");
  expect_says(message(narrow, 8), "does not divide expert_ffn = 36");
  ModelSpec dense = preset("tiny");
  dense.is_moe[0] = false;
  dense.dense_ffn = 36;
  expect_says(message(dense, 8), "does not divide dense_ffn = 36");
  expect_says(message(with_heads(12, 6), 4), "num_kv_heads = 6");
  expect_says(message(few_words, 4), "exceeds vocab_size = 3");
}

TEST(Validate, ShardsThatKeepTheRulesAreAdmitted) {
  for (const std::int64_t shards : {1, 2, 4, 8}) {
    EXPECT_NO_THROW(check_reduction_shards(preset("tiny"), shards, ExitCode::weights)) << shards;
  }
}

}  // namespace
}  // namespace tetrarch::plan
