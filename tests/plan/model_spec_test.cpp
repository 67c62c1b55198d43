// config_json is read, written and refused as inputs/README.md says.
// SPDX-License-Identifier: Apache-2.0
#include "plan/model_spec.hpp"

#include <utility>
#include <vector>

#include "base/json.hpp"
#include "support.hpp"

namespace tetrarch::plan {
namespace {

using base::ExitCode;
using base::Json;
using test::expect_says;
using test::refusal;

// inputs/README.md, "The configuration of `tiny`, in full"
constexpr const char* tiny_json = R"(
{"family": "tetrarch", "dtype": "bf16", "vocab_size": 512, "num_layers": 4, "hidden_size": 64, "max_position": 8192, "tied_embeddings": false,
 "norm": {"kind": "rms", "eps": 1e-5},
 "attention": {"kind": "gqa", "num_heads": 8, "num_kv_heads": 4, "head_dim": 8, "scale": 0.3535533905932738, "qkv_bias": false, "o_bias": false, "qk_norm": "none", "window": [0, 0, 0, 0]},
 "rope": {"style": "half", "dim": 8, "theta": 10000.0, "type": "default"},
 "moe": {"is_moe": [true, true, true, true], "num_experts": 16, "top_k": 2, "expert_ffn": 32, "dense_ffn": 0,
         "router": {"score": "softmax_all", "renorm": "sum", "scale": 1.0}, "expert": {"kind": "glu", "act": "silu"}}})";

Json tiny() {
  return Json::parse(tiny_json);
}

/// tiny with one value (by JSON pointer) replaced or added.
Json tiny_with(const char* pointer, const Json& value) {
  Json json = tiny();
  json[Json::json_pointer(pointer)] = value;
  return json;
}

std::string refusal_of(const Json& json) {
  return refusal(ExitCode::weights, [&] { parse_model_spec(json.dump(), "w.h5"); });
}

TEST(ModelSpec, TinyIsWrittenAsInTheContract) {
  const std::string written = to_config_json(preset("tiny"));

  EXPECT_EQ(written, tiny().dump());
}

TEST(ModelSpec, TheExampleOfTheContractIsTheTinyPreset) {
  const ModelSpec spec = parse_model_spec(tiny_json, "w.h5");

  EXPECT_EQ(spec, preset("tiny"));
}

TEST(ModelSpec, EveryPresetComesBackFromItsJson) {
  for (const std::string& name : preset_names()) {
    const ModelSpec spec = preset(name);

    EXPECT_EQ(parse_model_spec(to_config_json(spec), name), spec) << name;
  }
}

TEST(ModelSpec, EveryOptionComesBackFromItsJson) {
  ModelSpec spec = preset("tiny");
  spec.family = "mixtral";
  spec.dtype = base::DType::f32;
  spec.tied_embeddings = true;
  spec.window = {0, 7, 0, 8192};
  spec.attention_scale = 0.1;
  spec.rope_dim = 4;
  spec.rope_theta = 1e6;
  spec.router_renorm = RouterRenorm::none;
  spec.router_scale = 2.5;
  spec.expert_kind = ExpertKind::mlp;
  for (const Activation activation : {Activation::silu, Activation::gelu, Activation::gelu_tanh}) {
    spec.activation = activation;

    EXPECT_EQ(parse_model_spec(to_config_json(spec), "w.h5"), spec);
  }
}

/// tiny with a RoPE of this type.
ModelSpec with_rope(RopeType type) {
  ModelSpec spec = preset("tiny");
  spec.rope_type = type;
  spec.rope_scaling.factor = 4;
  if (type == RopeType::linear) return spec;
  spec.rope_scaling.orig_max = 2048;
  if (type == RopeType::llama3) spec.rope_scaling.high_freq_factor = 4;
  if (type == RopeType::yarn) spec.rope_scaling.beta_fast = 30;
  return spec;
}

TEST(ModelSpec, DenseLayersAndHeadNormsComeBackFromTheirJson) {
  ModelSpec spec = preset("tiny");
  spec.qk_norm = QkNorm::per_head;
  spec.head_size = spec.rope_dim = 24;
  spec.is_moe = {false, true, false, true};
  spec.dense_ffn = 96;

  EXPECT_EQ(parse_model_spec(to_config_json(spec), "w.h5"), spec);
}

TEST(ModelSpec, EveryTypeOfRopeComesBackFromItsJsonWithItsOwnKeysAlone) {
  const std::vector<std::pair<RopeType, std::vector<std::string>>> cases = {
      {RopeType::standard, {"style", "dim", "theta", "type"}},
      {RopeType::linear, {"style", "dim", "theta", "type", "factor"}},
      {RopeType::llama3,
       {"style", "dim", "theta", "type", "factor", "orig_max", "low_freq_factor",
        "high_freq_factor"}},
      {RopeType::yarn,
       {"style", "dim", "theta", "type", "factor", "orig_max", "beta_fast", "beta_slow",
        "truncate"}}};
  for (const auto& [type, keys] : cases) {
    ModelSpec spec = with_rope(type);
    if (type == RopeType::standard) spec.rope_scaling = {};

    const Json written = Json::parse(to_config_json(spec));

    std::vector<std::string> found;
    for (const auto& [key, value] : written["rope"].items())
      found.push_back(key);
    EXPECT_EQ(found, keys);
    EXPECT_EQ(parse_model_spec(written.dump(), "w.h5"), spec);
  }
}

TEST(ModelSpec, YarnsOwnFactorOfAttentionComesBackWhereItIsGiven) {
  ModelSpec spec = with_rope(RopeType::yarn);
  spec.rope_scaling.attention_factor = 1.25;
  spec.rope_scaling.mscale = 0.7;
  spec.rope_scaling.mscale_all_dim = 1.5;
  spec.rope_scaling.truncate = false;

  EXPECT_EQ(parse_model_spec(to_config_json(spec), "w.h5"), spec);
}

TEST(ModelSpec, EveryKeyOfAScaledRopeIsNeeded) {
  for (const RopeType type : {RopeType::linear, RopeType::llama3, RopeType::yarn}) {
    const Json written = Json::parse(to_config_json(with_rope(type)));
    for (const auto& [key, value] : written["rope"].items()) {
      Json json = written;
      json["rope"].erase(key);

      expect_says(refusal_of(json), "rope." + key + " is missing.");
    }
  }
}

TEST(ModelSpec, KeysOfAnotherTypeOfRopeAreRefused) {
  Json json = Json::parse(to_config_json(with_rope(RopeType::linear)));
  json["rope"]["beta_fast"] = 32.0;

  expect_says(refusal_of(json), "rope.beta_fast = 32.0");
}

TEST(ModelSpec, AWholeNumberIsAFineTheta) {
  const ModelSpec spec = parse_model_spec(tiny_with("/rope/theta", 10000).dump(), "w.h5");

  EXPECT_EQ(spec, preset("tiny"));
}

TEST(ModelSpec, UnknownKeysAreRefusedAtEveryLevelWithTheNearest) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"/vocab_sizes", "vocab_sizes is an unknown key. Did you mean vocab_size?"},
      {"/norm/epsi", "norm.epsi is an unknown key. Did you mean norm.eps?"},
      {"/attention/num_head", "Did you mean attention.num_heads?"},
      {"/rope/thetas", "Did you mean rope.theta?"},
      {"/moe/topk", "Did you mean moe.top_k?"},
      {"/moe/router/scores", "Did you mean moe.router.score?"},
      {"/moe/expert/kinds", "Did you mean moe.expert.kind?"},
      {"/moe/zebra_crossing_key", "moe.zebra_crossing_key is an unknown key. Remove it."}};
  for (const auto& [pointer, words] : cases) {
    const std::string message = refusal_of(tiny_with(pointer, 1));

    expect_says(message, "w.h5: ");
    expect_says(message, words);
  }
}

TEST(ModelSpec, FeaturesThatAreNotComputedAreRefusedByName) {
  const std::vector<std::pair<const char*, Json>> cases = {{"/norm/kind", "layernorm"},
                                                           {"/attention/kind", "mla"},
                                                           {"/attention/qkv_bias", true},
                                                           {"/attention/o_bias", true},
                                                           {"/attention/qk_norm", "full_width"},
                                                           {"/attention/sinks", true},
                                                           {"/rope/style", "interleaved"},
                                                           {"/rope/type", "longrope"},
                                                           {"/rope/factor", 4.0},
                                                           {"/moe/router/score", "sigmoid"},
                                                           {"/moe/router/renorm", "sum_eps"},
                                                           {"/moe/router/groups", 4},
                                                           {"/moe/expert/kind", "clamped"},
                                                           {"/moe/expert/act", "relu"},
                                                           {"/moe/shared", Json::object()},
                                                           {"/embedding_multiplier", 12.0},
                                                           {"/dtype", "fp8"}};
  for (const auto& [pointer, value] : cases) {
    std::string name = pointer + 1;
    for (char& c : name)
      if (c == '/') c = '.';

    const std::string message = refusal_of(tiny_with(pointer, value));

    expect_says(message, name + " = ");
    expect_says(message, "not computed by this version");
  }
}

TEST(ModelSpec, EveryKeyIsNeeded) {
  const Json flat = tiny().flatten();
  for (const auto& [key, value] : flat.items()) {
    const Json::json_pointer pointer(key);
    if (pointer.back().find_first_not_of("0123456789") == std::string::npos) continue;
    Json json = tiny();
    json[pointer.parent_pointer()].erase(pointer.back());

    const std::string message = refusal_of(json);

    expect_says(message, pointer.back() + " is missing.");
  }
}

TEST(ModelSpec, AMissingObjectIsSaidOnce) {
  Json json = tiny();
  json.erase("moe");

  EXPECT_EQ(refusal_of(json), "w.h5: moe is missing.");
}

TEST(ModelSpec, ValuesOfAnotherTypeAreRefused) {
  const std::vector<std::pair<const char*, Json>> cases = {{"/vocab_size", 512.0},
                                                           {"/vocab_size", "512"},
                                                           {"/num_layers", nullptr},
                                                           {"/hidden_size", 18446744073709551615u},
                                                           {"/hidden_size", 1e300},
                                                           {"/tied_embeddings", 0},
                                                           {"/family", 5},
                                                           {"/norm", 7},
                                                           {"/norm/eps", "small"},
                                                           {"/attention/window", 4096},
                                                           {"/attention/window", {0, 0, 0, 0.5}},
                                                           {"/moe/is_moe", {true, true, true, 1}},
                                                           {"/moe/router", Json::array()}};
  for (const auto& [pointer, value] : cases) {
    const std::string message = refusal_of(tiny_with(pointer, value));

    expect_says(message, Json::json_pointer(pointer).back());
    expect_says(message, " is ");
  }
}

TEST(ModelSpec, ANumberBeyond63BitsIsShownAsItStands) {
  const std::string message = refusal_of(tiny_with("/vocab_size", 18446744073709551615u));

  expect_says(message, "vocab_size = 18446744073709551615 is not a whole number of 63 bits");
}

TEST(ModelSpec, AllProblemsStandInOneMessage) {
  Json json = tiny_with("/attention/qk_norm", "full_width");
  json["moe"]["shared"] = true;
  json["colour"] = "red";
  json.erase("vocab_size");

  const std::string message = refusal_of(json);

  expect_says(message, "4 problems");
  for (const char* words : {"attention.qk_norm", "moe.shared", "colour", "vocab_size"})
    expect_says(message, words);
}

TEST(ModelSpec, LongForeignTextIsCutInTheMessage) {
  const std::string message = refusal_of(tiny_with("/dtype", std::string(100000, 'x')));

  EXPECT_LT(message.size(), 400u);
}

TEST(ModelSpec, TextThatIsNoObjectIsRefused) {
  for (const char* text : {"", "[]", "7", "null", "{\"family\":", "{\"a\":1,\"a\":2}"}) {
    const std::string message = refusal(ExitCode::weights, [&] { parse_model_spec(text, "w.h5"); });

    expect_says(message, "w.h5");
  }
}

TEST(ModelSpec, ParametersOfTheReferenceModelAreThoseOfTheDesign) {
  const std::int64_t parameters = preset("tetrarch-64").num_parameters();

  EXPECT_NEAR(static_cast<double>(parameters) * 2e-9, 73.69, 0.01);
}

TEST(ModelSpec, DenseLayersAndHeadNormsAreCounted) {
  ModelSpec spec = preset("tiny");
  const std::int64_t before = spec.num_parameters();
  spec.qk_norm = QkNorm::per_head;
  spec.is_moe[2] = false;
  spec.dense_ffn = 96;

  const std::int64_t experts = 16 * (3 * 32 + 1) * 64;
  EXPECT_EQ(spec.num_parameters() - before, 4 * 2 * 8 + 3 * 96 * 64 - experts);
}

TEST(ModelSpec, TiedEmbeddingsAreCountedOnce) {
  ModelSpec spec = preset("tiny");
  const std::int64_t untied = spec.num_parameters();
  spec.tied_embeddings = true;

  EXPECT_EQ(untied - spec.num_parameters(), 512 * 64);
}

}  // namespace
}  // namespace tetrarch::plan
