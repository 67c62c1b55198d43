// Each config.json of the table contradicts itself. It is refused, with the key's name, or a remark
// says which value was chosen.
// SPDX-License-Identifier: Apache-2.0
#include "import/hf_contradictions.hpp"

#include "base/json.hpp"
#include "import/hf_config.hpp"
#include "plan/support.hpp"

namespace tetrarch::hf {
namespace {

using base::Json;

Json config_of(const char* family) {
  Json config = {{"model_type", family},
                 {"architectures", nullptr},
                 {"vocab_size", 96},
                 {"hidden_size", 32},
                 {"intermediate_size", 48},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},
                 {"head_dim", 8},
                 {"num_experts_per_tok", 2},
                 {"max_position_embeddings", 80},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 1e6},
                 {"hidden_act", "silu"},
                 {"dtype", "bfloat16"},
                 {"tie_word_embeddings", false},
                 {"num_local_experts", 8},
                 {"sliding_window", nullptr}};
  if (family == std::string("qwen3_moe")) {
    config["moe_intermediate_size"] = 16;
    config["norm_topk_prob"] = true;
    config["use_sliding_window"] = false;
    config["decoder_sparse_step"] = 1;
    config["mlp_only_layers"] = Json::array();
  }
  return config;
}

/// The config with these keys; null removes one.
Json with(const char* family, const Json& keys) {
  Json config = config_of(family);
  for (const auto& [key, value] : keys.items())
    if (value.is_null())
      config.erase(key);
    else
      config[key] = value;
  return config;
}

struct Case {
  const char* family;
  Json keys;
  const char* words;
};
constexpr const char* mixtral = "mixtral";
constexpr const char* qwen = "qwen3_moe";

TEST(HfContradictions, AFileThatSaysAllOnceHasNoRemarks) {
  for (const char* family : {mixtral, qwen}) {
    std::vector<std::string> remarks;

    from_hugging_face(config_of(family), "config.json", &remarks);

    EXPECT_EQ(remarks, std::vector<std::string>{}) << family;
  }
}

TEST(HfContradictions, FilesThatContradictThemselvesAreRefusedByName) {
  const std::vector<Case> cases = {
      {mixtral, {{"torch_dtype", "float32"}}, "dtype = \"bfloat16\" and torch_dtype = \"float32\""},
      {mixtral, {{"num_experts", 4}}, "num_local_experts = 8 and num_experts = 4"},
      {qwen, {{"n_routed_experts", 4}}, "num_local_experts = 8 and n_routed_experts = 4"},
      {mixtral, {{"rope_parameters", {{"rope_theta", 1e4}}}}, "rope_parameters.rope_theta = 10000"},
      {mixtral, {{"architectures", {"Qwen2MoeForCausalLM"}}}, "architectures = "},
      {qwen, {{"architectures", {"Qwen3MoeForSequenceClassification"}}}, "Qwen3MoeForCausalLM"},
      {mixtral, {{"norm_eps", 1e-6}}, "norm_eps = 1e-06 contradicts rms_norm_eps = 1e-05"},
      {mixtral, {{"rms_norm_eps", nullptr}, {"layer_norm_eps", 1e-6}}, "layer_norm_eps = 1e-06"},
      {qwen, {{"d_model", 64}}, "d_model = 64 contradicts hidden_size = 32"},
      {qwen, {{"n_layers", 3}}, "n_layers = 3 contradicts num_hidden_layers = 2"},
      {qwen, {{"n_heads", 8}}, "n_heads = 8 contradicts num_attention_heads = 4"},
      {qwen, {{"num_kv_heads", 4}}, "num_kv_heads = 4 contradicts num_key_value_heads = 2"},
      {qwen, {{"kv_channels", 16}}, "kv_channels = 16 contradicts head_dim = 8"},
      {qwen, {{"moe_top_k", 1}}, "moe_top_k = 1 contradicts num_experts_per_tok = 2"},
      {qwen, {{"rotary_base", 1e4}}, "rotary_base = 10000.0 contradicts rope_theta = 1000000.0"},
      {qwen,
       {{"hidden_activation", "gelu"}},
       "hidden_activation = \"gelu\" contradicts hidden_act"},
      {mixtral,
       {{"use_sliding_window", false}, {"sliding_window", 8}},
       "use_sliding_window = false contradicts sliding_window = 8"},
      {mixtral, {{"use_sliding_window", true}}, "contradicts sliding_window = null"},
      {mixtral, {{"layer_types", {"full_attention", "sliding_attention"}}}, "layer_types = "},
      {mixtral, {{"sliding_window", 8}, {"layer_types", {"full_attention"}}}, "sliding_attention"},
      {mixtral, {{"norm_topk_prob", false}}, "norm_topk_prob = false contradicts model_type"},
      {mixtral, {{"moe_intermediate_size", 16}}, "moe_intermediate_size = 16 contradicts"},
      {mixtral, {{"decoder_sparse_step", 2}}, "decoder_sparse_step = 2 contradicts"},
      {mixtral, {{"mlp_only_layers", {1}}}, "mlp_only_layers = [1] contradicts"},
      {qwen, {{"shared_expert_intermediate_size", 16}}, "shared_expert_intermediate_size = 16"},
      {qwen, {{"routed_scaling_factor", 2.5}}, "routed_scaling_factor = 2.5"},
      {qwen, {{"final_logit_softcapping", 30.0}}, "final_logit_softcapping = 30.0"},
      {qwen, {{"compression_config", {{"bits", 4}}}}, "the weights are quantised"},
  };
  for (const Case& found : cases) {
    const std::string message = plan::test::refusal(base::ExitCode::weights, [&] {
      from_hugging_face(with(found.family, found.keys), "config.json");
    });
    plan::test::expect_says(message, found.words);
    plan::test::expect_says(message, "config.json: ");  // one problem, on one line
  }
}

TEST(HfContradictions, NeutralValuesAndEqualOnesAreTaken) {
  const Json keys = {{"torch_dtype", "bfloat16"},
                     {"num_experts", 8},
                     {"norm_eps", 1e-5},
                     {"d_model", 32},
                     {"attention_bias", false},
                     {"routed_scaling_factor", 1.0},
                     {"architectures", {"MixtralForCausalLM"}},
                     {"layer_types", {"full_attention", "full_attention"}},
                     {"norm_topk_prob", true},
                     {"use_sliding_window", false}};

  EXPECT_EQ(from_hugging_face(with(mixtral, keys), "c"),
            from_hugging_face(config_of(mixtral), "c"));
}

TEST(HfContradictions, DefaultsAndChoicesAreSaid) {
  const std::vector<Case> cases = {
      {qwen, {{"rope_theta", nullptr}}, "rope_theta is not given: 10000 is used"},
      {mixtral, {{"rope_theta", nullptr}}, "rope_theta is not given: 1000000 is used"},
      {qwen, {{"rms_norm_eps", nullptr}}, "rms_norm_eps is not given: 1e-06 is used"},
      {qwen, {{"head_dim", nullptr}}, "head_dim is not given: 8 is used, hidden_size / num_attent"},
      {qwen, {{"dtype", nullptr}}, "dtype is not given: float32 is used"},
      {qwen, {{"tie_word_embeddings", nullptr}}, "tie_word_embeddings is not given: false is used"},
      {qwen, {{"norm_topk_prob", nullptr}}, "norm_topk_prob is not given: false is used"},
      {qwen, {{"num_experts_per_tok", nullptr}}, "num_experts_per_tok is not given: 8 is used"},
      {qwen, {{"max_position_embeddings", nullptr}}, "max_position_embeddings is not given: 32768"},
      {mixtral, {{"sliding_window", nullptr}}, "sliding_window is not given: none is used"},
      {qwen, {{"use_sliding_window", true}, {"sliding_window", nullptr}}, "4096 is used"},
      {qwen, {{"sliding_window", 8}}, "sliding_window = 8 is not used, because use_sliding_window"},
      {qwen,
       {{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 1}},
       "max_window_layers = 1 is not used: every layer has the window"},
      {qwen, {{"mlp_only_layers", nullptr}}, "mlp_only_layers is not given: [] is used"},
      {qwen, {{"decoder_sparse_step", nullptr}}, "decoder_sparse_step is not given: 1 is used"},
      {mixtral, {{"hidden_act", nullptr}}, "hidden_act is not given: silu is used"},
      {mixtral,
       {{"num_key_value_heads", nullptr}, {"num_attention_heads", 8}, {"head_dim", 4}},
       "num_key_value_heads is not given: 8 is used"},
  };
  for (const Case& found : cases) {
    std::vector<std::string> remarks;

    from_hugging_face(with(found.family, found.keys), "config.json", &remarks);

    plan::test::expect_says(fmt::format("{}", fmt::join(remarks, "\n")), found.words);
  }
}

}  // namespace
}  // namespace tetrarch::hf
