// config.json of older and newer transformers gives the same model; what is not computed is
// refused.
// SPDX-License-Identifier: Apache-2.0
#include "import/hf_config.hpp"

#include <algorithm>
#include <set>

#include "base/json.hpp"
#include "plan/shard.hpp"
#include "plan/support.hpp"

namespace tetrarch::hf {
namespace {

using plan::ModelSpec;
using plan::parse_model_spec;
using plan::preset;
using plan::Role;
using plan::RopeScaling;
using plan::RopeType;
using plan::RouterRenorm;
using plan::TensorSpec;

using base::ExitCode;
using base::Json;
using plan::test::expect_says;
using plan::test::refusal;

// As transformers 4 writes it: top-level rope_theta, torch_dtype.
Json version_4() {
  return Json::parse(R"({
    "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1,
    "eos_token_id": 2, "head_dim": null, "hidden_act": "silu", "hidden_size": 64,
    "initializer_range": 0.02, "intermediate_size": 96, "max_position_embeddings": 256,
    "model_type": "mixtral", "num_attention_heads": 4, "num_experts_per_tok": 2,
    "num_hidden_layers": 2, "num_key_value_heads": 2, "num_local_experts": 8,
    "output_router_logits": false, "rms_norm_eps": 1e-05, "rope_scaling": null,
    "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001, "router_jitter_noise": 0.0,
    "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "transformers_version": "4.57.6", "use_cache": true, "vocab_size": 128})");
}

// As transformers 5 writes it: rope_parameters, dtype.
Json version_5() {
  Json config = version_4();
  for (const char* key : {"rope_theta", "rope_scaling", "torch_dtype"})
    config.erase(key);
  config["dtype"] = "bfloat16";
  config["rope_parameters"] = {{"rope_theta", 1000000.0}, {"rope_type", "default"}};
  config["transformers_version"] = "5.12.1";
  return config;
}

Json version_4_with(const char* key, const Json& value) {
  Json config = version_4();
  config[key] = value;
  return config;
}

std::string refusal_of(const Json& config) {
  return refusal(ExitCode::weights, [&] { from_hugging_face(config, "config.json"); });
}

TEST(HfConfig, BothGenerationsOfSpellingAreOneModel) {
  const ModelSpec four = from_hugging_face(version_4(), "config.json");
  const ModelSpec five = from_hugging_face(version_5(), "config.json");

  EXPECT_EQ(four, five);
  EXPECT_EQ(four.family, "mixtral");
  EXPECT_EQ(four.dtype, base::DType::bf16);
  EXPECT_EQ(four.head_size, 16);
  EXPECT_EQ(four.rope_dim, 16);
  EXPECT_DOUBLE_EQ(four.attention_scale, 0.25);
  EXPECT_DOUBLE_EQ(four.rope_theta, 1e6);
  EXPECT_EQ(four.num_experts, 8);
  EXPECT_EQ(four.expert_ffn, 96);
  EXPECT_EQ(four.router_renorm, RouterRenorm::sum);
  EXPECT_EQ(four.window, (std::vector<std::int64_t>{0, 0}));
}

TEST(HfConfig, TheResultIsAConfigJsonOfOurs) {
  const ModelSpec spec = from_hugging_face(version_4(), "config.json");

  EXPECT_EQ(parse_model_spec(to_config_json(spec), "w.h5"), spec);
}

TEST(HfConfig, AbsentKeysMeanTheDefaultsOfTheClass) {
  const ModelSpec spec =
      from_hugging_face(Json{{"model_type", "mixtral"}, {"torch_dtype", "bfloat16"}}, "c");

  ModelSpec expected = preset("mixtral-8x7b");
  expected.max_position = 131072;
  EXPECT_EQ(spec, expected);
}

TEST(HfConfig, NullKvHeadsMeanAsManyAsHeads) {
  const ModelSpec spec =
      from_hugging_face(version_4_with("num_key_value_heads", nullptr), "config.json");

  EXPECT_EQ(spec.num_kv_heads, 4);
}

TEST(HfConfig, AGivenHeadDimNeedNotDivideTheHiddenSize) {
  const ModelSpec spec = from_hugging_face(version_4_with("head_dim", 24), "config.json");

  EXPECT_EQ(spec.head_size, 24);
}

TEST(HfConfig, NumberOfExpertsHasThreeSpellings) {
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"}) {
    Json config = version_4();
    config.erase("num_local_experts");
    config[key] = 4;

    EXPECT_EQ(from_hugging_face(config, "config.json").num_experts, 4) << key;
  }
}

TEST(HfConfig, AWindowShorterThanMaxPositionHoldsInEveryLayer) {
  const auto window = [](const Json& value) {
    return from_hugging_face(version_4_with("sliding_window", value), "config.json").window;
  };

  EXPECT_EQ(window(8), (std::vector<std::int64_t>{8, 8}));
  EXPECT_EQ(window(255), (std::vector<std::int64_t>{255, 255}));
  EXPECT_EQ(window(256), (std::vector<std::int64_t>{0, 0}));
  EXPECT_EQ(window(nullptr), (std::vector<std::int64_t>{0, 0}));
}

TEST(HfConfig, DTypesAreReadAsWhatHoldsThem) {
  const auto dtype = [](const Json& value) {
    return from_hugging_face(version_4_with("torch_dtype", value), "config.json").dtype;
  };

  EXPECT_EQ(dtype("bfloat16"), base::DType::bf16);
  EXPECT_EQ(dtype("float32"), base::DType::f32);
  EXPECT_EQ(dtype("float16"), base::DType::f32);
  EXPECT_EQ(dtype(nullptr), base::DType::f32);
}

TEST(HfConfig, AnotherFamilyIsRefusedByNameAlone) {
  expect_says(refusal_of(version_4_with("model_type", "qwen2_moe")),
              "model_type = \"qwen2_moe\" is not computed by this version");
  expect_says(refusal_of(Json::object()), "model_type is missing");
  expect_says(refusal_of(Json::array()), "expected an object");
}

TEST(HfConfig, WhatIsNotComputedIsRefusedByName) {
  const Json longrope = {{"rope_type", "longrope"}, {"factor", 4.0}};
  const Json old_dynamic = {{"type", "dynamic"}, {"factor", 2.0}};
  const Json by_kind = {{"full_attention", {{"rope_theta", 1e6}}}};

  expect_says(refusal_of(version_4_with("rope_scaling", longrope)),
              "rope_scaling.rope_type = \"longrope\"");
  expect_says(refusal_of(version_4_with("rope_scaling", old_dynamic)),
              "rope_scaling.type = \"dynamic\"");
  expect_says(refusal_of(version_4_with("rope_parameters", longrope)), "rope_parameters.rope_type");
  expect_says(refusal_of(version_4_with("rope_parameters", by_kind)), "for each kind of layer");
  expect_says(refusal_of(version_4_with("partial_rotary_factor", 0.5)), "partial_rotary_factor");
  expect_says(refusal_of(version_4_with("hidden_act", "relu")), "hidden_act = \"relu\"");
  expect_says(refusal_of(version_4_with("attention_bias", true)), "attention_bias = true");
  expect_says(refusal_of(version_4_with("torch_dtype", "float8_e4m3fn")), "torch_dtype");
  expect_says(refusal_of(version_4_with("quantization_config", {{"quant_method", "fp8"}})),
              "quantization_config");
}

TEST(HfConfig, EveryTypeOfRopeIsReadInBothGenerations) {
  struct Case {
    Json parameters;
    RopeType type;
    RopeScaling scaling;
  };
  const std::vector<Case> cases = {
      {{{"rope_type", "linear"}, {"factor", 2.5}}, RopeType::linear, {.factor = 2.5}},
      {{{"rope_type", "llama3"},
        {"factor", 8.0},
        {"low_freq_factor", 1.0},
        {"high_freq_factor", 4.0},
        {"original_max_position_embeddings", 64}},
       RopeType::llama3,
       {.factor = 8, .orig_max = 64, .low_freq_factor = 1, .high_freq_factor = 4}},
      {{{"rope_type", "yarn"}, {"factor", 4.0}},  // orig_max is max_position_embeddings by default
       RopeType::yarn,
       {.factor = 4, .orig_max = 256}},
      {{{"rope_type", "yarn"},
        {"factor", nullptr},
        {"original_max_position_embeddings", 64},
        {"beta_fast", 24},
        {"beta_slow", nullptr},
        {"truncate", false},
        {"attention_factor", 1.5},
        {"mscale", 0.5},
        {"mscale_all_dim", 0.25}},
       RopeType::yarn,
       {.factor = 4,
        .orig_max = 64,
        .beta_fast = 24,
        .truncate = false,
        .attention_factor = 1.5,
        .mscale = 0.5,
        .mscale_all_dim = 0.25}}};
  for (const Case& expected : cases) {
    Json old_style = expected.parameters;
    old_style["type"] = old_style["rope_type"];
    old_style.erase("rope_type");
    Json five = version_5();
    five["rope_parameters"].update(expected.parameters);
    for (const Json& config : {version_4_with("rope_scaling", old_style), five}) {
      const ModelSpec spec = from_hugging_face(config, "config.json");

      EXPECT_EQ(spec.rope_type, expected.type) << config["rope_scaling"];
      EXPECT_EQ(spec.rope_scaling, expected.scaling) << config;
      EXPECT_DOUBLE_EQ(spec.rope_theta, 1e6);
    }
  }
}

TEST(HfConfig, AScaledRopeThatSaysTooLittleOrTwoThingsIsRefused) {
  const Json linear = {{"rope_type", "linear"}, {"factor", 2.0}};
  const Json yarn = {{"rope_type", "yarn"},
                     {"factor", 2.0},
                     {"attention_factor", 0},
                     {"original_max_position_embeddings", 32}};
  Json twice = version_4_with("rope_scaling", linear);
  twice["rope_parameters"] = linear;
  Json other_length = version_4_with("rope_scaling", yarn);
  other_length["original_max_position_embeddings"] = 48;

  EXPECT_EQ(from_hugging_face(twice, "config.json").rope_scaling.factor, 2);
  twice["rope_parameters"]["factor"] = 4;
  expect_says(refusal_of(twice),
              "rope_scaling.factor = 2.0 and rope_parameters.factor = 4 contradict each other");
  expect_says(refusal_of(version_4_with("rope_scaling", {{"rope_type", "linear"}})),
              "rope_scaling.factor is missing");
  expect_says(
      refusal_of(version_4_with("rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}})),
      "rope_scaling.low_freq_factor is missing");
  expect_says(refusal_of(version_4_with("rope_scaling", yarn)),
              "rope_scaling.attention_factor = 0");
  expect_says(refusal_of(other_length),
              "original_max_position_embeddings = 48 and "
              "rope_scaling.original_max_position_embeddings = 32 contradict each other");
}

// Qwen/Qwen3-30B-A3B as published.
Json qwen() {
  return Json::parse(R"({
    "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 151643, "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128,
    "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
    "intermediate_size": 6144, "max_position_embeddings": 40960, "max_window_layers": 48,
    "mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 768,
    "norm_topk_prob": true, "num_attention_heads": 32, "num_experts": 128,
    "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4,
    "output_router_logits": false, "rms_norm_eps": 1e-06, "rope_scaling": null,
    "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001, "sliding_window": null,
    "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.51.0",
    "use_cache": true, "use_sliding_window": false, "vocab_size": 151936})");
}

ModelSpec qwen_with(const char* key, const Json& value) {
  Json config = qwen();
  config[key] = value;
  return from_hugging_face(config, "config.json");
}

TEST(HfConfig, ThePublishedQwenIsThePreset) {
  EXPECT_EQ(from_hugging_face(qwen(), "config.json"), preset("qwen3-30b-a3b"));
}

TEST(HfConfig, AbsentKeysMeanTheDefaultsOfQwensClass) {
  const ModelSpec spec = from_hugging_face(Json{{"model_type", "qwen3_moe"}}, "config.json");

  EXPECT_EQ(spec.num_layers, 24);
  EXPECT_EQ(spec.head_size, 64);
  EXPECT_EQ(spec.num_kv_heads, 4);
  EXPECT_EQ(spec.num_experts, 128);
  EXPECT_EQ(spec.top_k, 8);
  EXPECT_EQ(spec.expert_ffn, 768);
  EXPECT_EQ(spec.dense_ffn, 0);
  EXPECT_EQ(spec.max_position, 32768);
  EXPECT_DOUBLE_EQ(spec.norm_eps, 1e-6);
  EXPECT_DOUBLE_EQ(spec.rope_theta, 1e4);
  EXPECT_EQ(spec.router_renorm, RouterRenorm::none);
}

TEST(HfConfig, QwensOptionsAreRead) {
  EXPECT_EQ(qwen_with("norm_topk_prob", false).router_renorm, RouterRenorm::none);
  EXPECT_TRUE(qwen_with("tie_word_embeddings", true).tied_embeddings);
  EXPECT_EQ(qwen_with("head_dim", nullptr).head_size, 64);
  EXPECT_EQ(qwen_with("mlp_only_layers", nullptr).dense_ffn, 0);
}

TEST(HfConfig, LayersWithoutExpertsAreListedOrBetweenTheSteps) {
  Json config = qwen();
  config["num_hidden_layers"] = 6;
  config["decoder_sparse_step"] = 2;
  config["mlp_only_layers"] = {3, 99};

  const ModelSpec spec = from_hugging_face(config, "config.json");

  EXPECT_EQ(spec.is_moe, (std::vector<bool>{false, true, false, false, false, true}));
  EXPECT_EQ(spec.dense_ffn, 6144);
}

TEST(HfConfig, AListOfLayersMayBeLongAndOddWithoutHarm) {
  Json config = qwen();
  config["num_hidden_layers"] = 4096;
  // searching this list for each of the 4096 layers would take too long
  config["mlp_only_layers"] = std::vector<std::int64_t>(1'000'000, -1);
  config["mlp_only_layers"].push_back(5);
  config["mlp_only_layers"].push_back(INT64_MAX);

  const ModelSpec spec = from_hugging_face(config, "config.json");

  EXPECT_EQ(std::ranges::count(spec.is_moe, false), 1);
  EXPECT_FALSE(spec.is_moe[5]);
}

TEST(HfConfig, QwensWindowHoldsOnlyWhereItIsSwitchedOn) {
  Json config = qwen();
  config["sliding_window"] = 4096;
  const ModelSpec off = from_hugging_face(config, "config.json");
  config["use_sliding_window"] = true;
  const ModelSpec on = from_hugging_face(config, "config.json");
  config.erase("sliding_window");
  const ModelSpec by_default = from_hugging_face(config, "config.json");

  EXPECT_EQ(off.window, std::vector<std::int64_t>(48, 0));
  EXPECT_EQ(on.window, std::vector<std::int64_t>(48, 4096));
  EXPECT_EQ(by_default.window, std::vector<std::int64_t>(48, 4096));
}

TEST(HfConfig, WhatIsNotComputedOfQwenIsRefusedByName) {
  const auto message = [](const char* key, const Json& value) {
    return refusal(ExitCode::weights, [&] { qwen_with(key, value); });
  };

  expect_says(message("attention_bias", true), "attention_bias = true");
  expect_says(message("decoder_sparse_step", 0), "decoder_sparse_step = 0");
  expect_says(message("mlp_only_layers", "all"), "mlp_only_layers");
  expect_says(message("moe_intermediate_size", 0), "moe.expert_ffn = 0");
}

TEST(HfConfig, HostileNumbersAreRefusedBeforeTheySizeAnything) {
  for (const char* key : {"num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size",
                          "num_local_experts", "intermediate_size", "max_position_embeddings"}) {
    for (const Json& value : {Json(std::int64_t{1} << 62), Json(0), Json(-7), Json(2.5), Json("8"),
                              Json(18446744073709551615u)}) {
      const std::string message = refusal_of(version_4_with(key, value));

      expect_says(message, "config.json: ");
    }
  }
  refusal_of(version_4_with("sliding_window", -4));
  refusal_of(version_4_with("head_dim", 0));
  refusal_of(version_4_with("num_attention_heads", 3));
}

TEST(HfConfig, EveryTensorHasItsSourceInTheSameOrder) {
  ModelSpec spec = from_hugging_face(version_4(), "config.json");
  for (const bool is_tied : {false, true}) {
    spec.tied_embeddings = is_tied;
    const std::vector<TensorSpec> tensors = tensors_of(spec, 2);

    const std::vector<TensorSource> sources = tensor_sources(spec);

    ASSERT_EQ(sources.size(), tensors.size());
    std::set<std::string> names;
    std::size_t num_pieces = 0;
    for (std::size_t i = 0; i < sources.size(); ++i) {
      EXPECT_EQ(sources[i].path, tensors[i].path);
      EXPECT_EQ(sources[i].pieces.size(), static_cast<std::size_t>(tensors[i].num_experts));
      const bool is_row_parallel = tensors[i].role == Role::o || tensors[i].role == Role::down;
      EXPECT_EQ(sources[i].is_transposed, is_row_parallel) << sources[i].path;
      for (const auto& piece : sources[i].pieces) {
        names.insert(piece.front());
        ++num_pieces;
      }
    }
    EXPECT_EQ(names.size(), num_pieces);  // no tensor is used twice
    EXPECT_EQ(num_pieces, 3u - is_tied + 2 * (7 + 3 * 8));
  }
}

using Names = std::vector<std::string>;

std::vector<Names> pieces_of(const ModelSpec& spec, const std::string& path) {
  for (const TensorSource& source : tensor_sources(spec))
    if (source.path == path) return source.pieces;
  return {{"no such tensor"}};
}

TEST(HfConfig, QwensTensorsHaveItsNames) {
  Json config = qwen();
  config["num_hidden_layers"] = 2;
  config["mlp_only_layers"] = {0};
  const ModelSpec spec = from_hugging_face(config, "config.json");
  const auto pieces = [&](const std::string& path) { return pieces_of(spec, path); };

  EXPECT_EQ(pieces("/layers/01/q_norm").at(0), (Names{"model.layers.1.self_attn.q_norm.weight"}));
  EXPECT_EQ(pieces("/layers/00/k_norm").at(0), (Names{"model.layers.0.self_attn.k_norm.weight"}));
  EXPECT_EQ(pieces("/layers/01/router").at(0), (Names{"model.layers.1.mlp.gate.weight"}));
  EXPECT_EQ(pieces("/layers/00/router").at(0), (Names{"no such tensor"}));
  EXPECT_EQ(pieces("/layers/01/gate").size(), 128u);
  EXPECT_EQ(pieces("/layers/01/gate").at(7),
            (Names{"model.layers.1.mlp.experts.7.gate_proj.weight"}));
  EXPECT_EQ(pieces("/layers/01/up").at(0), (Names{"model.layers.1.mlp.experts.0.up_proj.weight"}));
  EXPECT_EQ(pieces("/layers/01/down").at(127),
            (Names{"model.layers.1.mlp.experts.127.down_proj.weight"}));
  EXPECT_EQ(pieces("/layers/00/gate"),
            (std::vector<Names>{{"model.layers.0.mlp.gate_proj.weight"}}));
  EXPECT_EQ(pieces("/layers/00/up"), (std::vector<Names>{{"model.layers.0.mlp.up_proj.weight"}}));
  EXPECT_EQ(pieces("/layers/00/down"),
            (std::vector<Names>{{"model.layers.0.mlp.down_proj.weight"}}));
}

TEST(HfConfig, ExpertTensorsHaveTheNamesOfBothGenerations) {
  const ModelSpec spec = from_hugging_face(version_4(), "config.json");
  const auto pieces = [&](const std::string& path) { return pieces_of(spec, path); };

  EXPECT_EQ(pieces("/layers/01/gate").at(7),
            (Names{"model.layers.1.block_sparse_moe.experts.7.w1.weight",
                   "model.layers.1.mlp.experts.7.w1.weight"}));
  EXPECT_EQ(pieces("/layers/00/up").at(0).front(),
            "model.layers.0.block_sparse_moe.experts.0.w3.weight");
  EXPECT_EQ(pieces("/layers/00/down").at(3).front(),
            "model.layers.0.block_sparse_moe.experts.3.w2.weight");
  EXPECT_EQ(pieces("/layers/01/router").at(0), (Names{"model.layers.1.block_sparse_moe.gate.weight",
                                                      "model.layers.1.mlp.gate.weight"}));
  EXPECT_EQ(pieces("/layers/01/moe_norm").at(0),
            (Names{"model.layers.1.post_attention_layernorm.weight"}));
  EXPECT_EQ(pieces("/layers/00/o").at(0), (Names{"model.layers.0.self_attn.o_proj.weight"}));
  EXPECT_EQ(pieces("/embed").at(0), (Names{"model.embed_tokens.weight"}));
  EXPECT_EQ(pieces("/final_norm").at(0), (Names{"model.norm.weight"}));
  EXPECT_EQ(pieces("/head").at(0), (Names{"lm_head.weight"}));
}

}  // namespace
}  // namespace tetrarch::hf
