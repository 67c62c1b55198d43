// The presets are those of inputs/README.md, and a misspelt one is refused.
// SPDX-License-Identifier: Apache-2.0
#include "plan/model_spec.hpp"
#include "support.hpp"

namespace tetrarch::plan {
namespace {

using base::ExitCode;
using test::expect_says;
using test::refusal;

TEST(Presets, TinyHasTheSizesOfTheContract) {
  const ModelSpec spec = preset("tiny");

  EXPECT_EQ(spec.num_layers, 4);
  EXPECT_EQ(spec.hidden_size, 64);
  EXPECT_EQ(spec.num_heads, 8);
  EXPECT_EQ(spec.num_kv_heads, 4);
  EXPECT_EQ(spec.head_size, 8);
  EXPECT_EQ(spec.num_experts, 16);
  EXPECT_EQ(spec.top_k, 2);
  EXPECT_EQ(spec.expert_ffn, 32);
  EXPECT_EQ(spec.vocab_size, 512);
  EXPECT_EQ(spec.expert_kind, ExpertKind::glu);
}

TEST(Presets, TheMiniHasTheShapeOfTheReferenceModel) {
  const ModelSpec mini = preset("tetrarch-64-mini");
  const ModelSpec full = preset("tetrarch-64");

  EXPECT_EQ(mini.num_layers, full.num_layers);
  EXPECT_EQ(mini.num_experts, full.num_experts);
  EXPECT_EQ(mini.top_k, full.top_k);
  EXPECT_EQ(mini.expert_kind, ExpertKind::mlp);
  EXPECT_EQ(full.expert_kind, ExpertKind::mlp);
  EXPECT_EQ(mini.activation, Activation::gelu);
  EXPECT_EQ(mini.num_heads * mini.head_size, mini.hidden_size);
  EXPECT_EQ(full.num_heads * full.head_size, full.hidden_size);
  EXPECT_EQ(mini.expert_ffn, 4 * mini.hidden_size);
  EXPECT_EQ(full.expert_ffn, 4 * full.hidden_size);
  EXPECT_EQ(full.vocab_size, 172032);
}

TEST(Presets, MixtralHasItsPublishedNumberOfParameters) {
  EXPECT_EQ(preset("mixtral-8x7b").num_parameters(), 46702792704);
}

TEST(Presets, QwenHasItsPublishedNumberOfParametersAndHeadsWiderThanTheHiddenSize) {
  const ModelSpec spec = preset("qwen3-30b-a3b");

  EXPECT_EQ(spec.num_parameters(), 30532122624);
  EXPECT_EQ(spec.num_heads * spec.head_size, 2 * spec.hidden_size);
  EXPECT_EQ(spec.qk_norm, QkNorm::per_head);
}

TEST(Presets, EveryPresetCanRunOnTheReferenceGrid) {
  for (const std::string& name : preset_names())
    EXPECT_EQ(default_reduction_shards(preset(name)), 4) << name;
}

TEST(Presets, AMisspeltNameIsRefusedWithTheNearest) {
  const std::string message = refusal(ExitCode::usage, [] { preset("tetrarch64"); });

  expect_says(message, "Did you mean tetrarch-64?");
  expect_says(message, "tiny, tetrarch-64-mini, tetrarch-64, mixtral-8x7b, qwen3-30b-a3b");
}

}  // namespace
}  // namespace tetrarch::plan
