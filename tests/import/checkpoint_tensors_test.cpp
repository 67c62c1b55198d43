// Experts stored one by one and experts stored in two tensors give the same model; other tensors
// are refused by name.
// SPDX-License-Identifier: Apache-2.0
#include "import/checkpoint_tensors.hpp"

#include "base/json.hpp"
#include "safetensors_writer.hpp"

namespace tetrarch::hf {
namespace {

using base::ExitCode;
using base::Json;
using test::Scratch;
using test::Tensors;

constexpr std::int64_t num_experts = 2;

/// A model of one layer with that hidden size and experts of that width.
struct Model {
  const char* family;
  std::int64_t hidden, width;

  plan::ModelSpec spec() const {
    return from_hugging_face(Json{{"model_type", family},
                                  {"vocab_size", 6},
                                  {"hidden_size", hidden},
                                  {"num_hidden_layers", 1},
                                  {"num_attention_heads", 2},
                                  {"num_key_value_heads", 2},
                                  {"head_dim", 2},
                                  {"num_local_experts", num_experts},
                                  {"num_experts_per_tok", 1},
                                  {"intermediate_size", width},
                                  {"moe_intermediate_size", width}},
                             "config.json");
  }
  Tensors without_experts() const {
    Tensors all = {{"model.embed_tokens.weight", {{6, hidden}}},
                   {"lm_head.weight", {{6, hidden}}},
                   {"model.norm.weight", {{hidden}}}};
    const std::string layer = "model.layers.0.";
    for (const char* name : {"input_layernorm", "post_attention_layernorm"})
      all[layer + name + ".weight"] = {{hidden}};
    for (const char* name : {"q_proj", "k_proj", "v_proj"})
      all[layer + "self_attn." + name + ".weight"] = {{4, hidden}};
    all[layer + "self_attn.o_proj.weight"] = {{hidden, 4}};
    if (family == std::string("qwen3_moe"))
      for (const char* name : {"q_norm", "k_norm"})
        all[layer + "self_attn." + name + ".weight"] = {{2}};
    all[layer + "mlp.gate.weight"] = {{num_experts, hidden}};
    return all;
  }
  Tensors fused(const std::string& block = "mlp") const {
    Tensors all = without_experts();
    const std::string experts = "model.layers.0." + block + ".experts.";
    all[experts + "gate_up_proj"] = {{num_experts, 2 * width, hidden}, 1000};
    all[experts + "down_proj"] = {{num_experts, hidden, width}, 2000};
    return all;
  }
};
const Model mixtral = {"mixtral", 4, 3}, qwen = {"qwen3_moe", 4, 3};
const std::string gate_up = "model.layers.0.mlp.experts.gate_up_proj";
const std::string down = "model.layers.0.mlp.experts.down_proj";

class CheckpointTensorsTest : public testing::Test {
 protected:
  CheckpointTensors match(const Model& model, const Tensors& tensors) {
    test::write_safetensors(scratch_ / "model.safetensors", tensors);
    checkpoint_.emplace(scratch_.folder());
    const plan::ModelSpec spec = model.spec();
    tensors_ = plan::tensors_of(spec, 1);
    return CheckpointTensors(*checkpoint_, spec, tensors_);
  }
  testing::AssertionResult refused(const Model& model, const Tensors& tensors,
                                   const std::vector<std::string>& words) {
    return test::is_refused(ExitCode::weights, words, [&] { match(model, tensors); });
  }
  /// First element of an expert's matrix.
  float first_of(const CheckpointTensors& found, const std::string& path, std::int64_t expert) {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].path != path) continue;
      const Piece& piece = found.piece(i, expert);
      float value = 0;
      checkpoint_->read(*piece.tensor, 4 * piece.begin,
                        std::as_writable_bytes(std::span(&value, 1)));
      return value;
    }
    ADD_FAILURE() << "no " << path;
    return 0;
  }

  const Scratch scratch_;
  std::optional<Checkpoint> checkpoint_;
  std::vector<plan::TensorSpec> tensors_;
};

TEST_F(CheckpointTensorsTest, AFusedTensorHasGateAboveUpOfEachExpert) {
  for (const auto& [model, block] : std::vector<std::pair<Model, std::string>>{
           {mixtral, "mlp"}, {mixtral, "block_sparse_moe"}, {qwen, "mlp"}}) {
    const CheckpointTensors found = match(model, model.fused(block));

    EXPECT_EQ(first_of(found, "/layers/00/gate", 0), 1000);
    EXPECT_EQ(first_of(found, "/layers/00/up", 0), 1000 + 3 * 4);
    EXPECT_EQ(first_of(found, "/layers/00/gate", 1), 1000 + 6 * 4);
    EXPECT_EQ(first_of(found, "/layers/00/up", 1), 1000 + 9 * 4);
    EXPECT_EQ(first_of(found, "/layers/00/down", 0), 2000);
    EXPECT_EQ(first_of(found, "/layers/00/down", 1), 2000 + 4 * 3);
    EXPECT_TRUE(found.remarks().empty());
  }
}

TEST_F(CheckpointTensorsTest, TransposedExpertsAreRefused) {
  Tensors turned = qwen.fused();
  turned[gate_up].shape = {num_experts, 4, 6};
  EXPECT_TRUE(refused(qwen, turned, {gate_up, "[2, 4, 6]", "[2, 6, 4]", "are transposed"}));

  turned = qwen.fused();
  turned[down].shape = {num_experts, 3, 4};
  EXPECT_TRUE(refused(qwen, turned, {down, "are transposed"}));
}

TEST_F(CheckpointTensorsTest, WhereOneIsSquareTheOtherDecides) {
  const Model square_gate = {"qwen3_moe", 4, 2}, square_down = {"qwen3_moe", 4, 4};
  for (const Model& model : {square_gate, square_down}) {
    const CheckpointTensors found = match(model, model.fused());

    ASSERT_EQ(found.remarks().size(), 1u);
    EXPECT_NE(found.remarks()[0].find("are equal, so its shape does not tell their order"),
              std::string::npos);
  }
  Tensors turned = square_gate.fused();
  turned[down].shape = {num_experts, 2, 4};
  EXPECT_TRUE(refused(square_gate, turned, {down, "are transposed"}));
  turned = square_down.fused();
  turned[gate_up].shape = {num_experts, 4, 8};
  EXPECT_TRUE(refused(square_down, turned, {gate_up, "are transposed"}));
}

TEST_F(CheckpointTensorsTest, ALayerWithBothKindsOfExpertsIsRefused) {
  Tensors both = qwen.fused();
  both["model.layers.0.mlp.experts.1.up_proj.weight"] = {{3, 4}};
  EXPECT_TRUE(
      refused(qwen, both, {"layer 0", "tensors of single experts and also one tensor of all"}));

  Tensors half = qwen.fused();
  half.erase(down);
  for (const char* name : {"0", "1"})
    half[fmt::format("model.layers.0.mlp.experts.{}.down_proj.weight", name)] = {{4, 3}};
  EXPECT_TRUE(
      refused(qwen, half, {"layer 0", "tensors of single experts and also one tensor of all"}));
}

TEST_F(CheckpointTensorsTest, AMissingHalfIsNamed) {
  Tensors half = mixtral.fused();
  half.erase(down);
  EXPECT_TRUE(refused(mixtral, half, {"1 tensors", "missing: " + down}));
  half = mixtral.fused();
  half.erase(gate_up);
  EXPECT_TRUE(refused(mixtral, half, {"1 tensors", "missing: " + gate_up}));
}

TEST_F(CheckpointTensorsTest, AnotherNumberOfExpertsIsRefused) {
  Tensors more = mixtral.fused();
  more[gate_up].shape[0] = 3;
  EXPECT_TRUE(
      refused(mixtral, more, {gate_up, "[3, 6, 4]", "expected [2, 6, 4] from config.json"}));
}

TEST_F(CheckpointTensorsTest, AResizedVocabularyIsNamed) {
  Tensors resized = mixtral.fused();
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"})
    resized[name].shape[0] = 8;

  EXPECT_TRUE(refused(mixtral, resized,
                      {"2 problems", "lm_head.weight",
                       "has 8 rows, but config.json says vocab_size", "Set vocab_size to 8"}));
}

TEST_F(CheckpointTensorsTest, WhatIsNotNeededIsSaid) {
  Tensors more = mixtral.fused();
  more["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{1}};

  const CheckpointTensors found = match(mixtral, more);

  ASSERT_EQ(found.remarks().size(), 1u);
  EXPECT_NE(found.remarks()[0].find("1 tensors are left out"), std::string::npos);
  EXPECT_EQ(found.used().size(), mixtral.fused().size());
}

TEST_F(CheckpointTensorsTest, AnotherPrefixIsTheOnlyProblemNamed) {
  Tensors renamed;
  for (const auto& [name, tensor] : mixtral.fused())
    renamed["base_model.model." + name] = tensor;

  EXPECT_TRUE(refused(mixtral, renamed, {"base_model.model.model.embed_tokens", "PEFT"}));
}

}  // namespace
}  // namespace tetrarch::hf
