// SPDX-License-Identifier: Apache-2.0
#include "import/checkpoint_names.hpp"

#include <gtest/gtest.h>

namespace tetrarch::hf {
namespace {

bool says(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

TEST(CheckpointNames, ThePrefixThatWasFoundIsNamedWithItsCause) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "model without its head"},
      {"base_model.model.model.", "merge_and_unload"},
      {"_orig_mod.model.", "compiled"},
      {"module.model.", "parallel wrapper"},
      {"language_model.model.", "larger model"},
      {"model.language_model.", "larger model"},
      {"thinker.model.", "from the model itself"}};
  for (const auto& [prefix, cause] : cases) {
    const std::string name = std::string(prefix) + "embed_tokens.weight";

    const std::string problem = problem_of_prefix({"a", name});

    EXPECT_TRUE(says(problem, "\"" + name + "\" instead of \"model.embed_tokens.weight\""));
    EXPECT_TRUE(says(problem, cause)) << problem;
  }
  EXPECT_TRUE(says(problem_of_prefix({"tok_embeddings.weight"}), "Mistral's own format"));
  EXPECT_EQ(problem_of_prefix({"lm_head.weight"}), "");
}

TEST(CheckpointNames, WhatHasNoPlaceIsNamedWithItsCause) {
  plan::ModelSpec spec;
  spec.num_layers = 2;
  const std::pair<const char*, const char*> cases[] = {
      {"model.layers.7.input_layernorm.weight", "up to layer 7, but config.json says num_hidden"},
      {"model.layers.1.self_attn.q_proj.lora_A.weight", "LoRA"},
      {"model.layers.0.mlp.down_proj.weight_scale_inv", "quantised"},
      {"model.layers.0.mlp.shared_expert.up_proj.weight", "no shared experts"},
      {"model.layers.0.self_attn.q_proj.bias", "no biases"},
      {"model.other", "No model of this version has such tensors"}};
  for (const auto& [name, cause] : cases)
    EXPECT_TRUE(says(advice_on_unexpected({"x", name}, spec), cause)) << name;
}

}  // namespace
}  // namespace tetrarch::hf
