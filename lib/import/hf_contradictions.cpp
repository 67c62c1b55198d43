// Refuses keys of config.json that the model as read does not follow.
// SPDX-License-Identifier: Apache-2.0
#include "import/hf_contradictions.hpp"

#include <algorithm>

namespace tetrarch::hf {
namespace {

using plan::JsonReader;
using plan::ModelSpec;

using base::Json;

/// Features of other families. The classes of mixtral and qwen3_moe do not read these keys, and
/// this program does not compute them. Each key has a neutral value, which means that the feature
/// is not used.
struct Feature {
  const char* key;
  int neutral;  // null, false and 0 are neutral too
};
constexpr Feature features[] = {{"attention_bias", 0},
                                {"qkv_bias", 0},
                                {"mlp_bias", 0},
                                {"clip_qkv", 0},
                                {"n_shared_experts", 0},
                                {"num_shared_experts", 0},
                                {"shared_expert_intermediate_size", 0},
                                {"attn_logit_softcapping", 0},
                                {"final_logit_softcapping", 0},
                                {"router_logit_softcapping", 0},
                                {"routed_scaling_factor", 1},
                                {"embedding_multiplier", 1},
                                {"residual_multiplier", 1},
                                {"logits_scaling", 1},
                                {"logit_scale", 1},
                                {"rotary_pct", 1},
                                {"attention_multiplier", 0},
                                {"n_group", 1},
                                {"topk_group", 1},
                                {"use_routing_bias", 0}};

/// Names that other classes use for what this class reads under `key`. This class ignores them.
struct Alias {
  const char* key;
  std::initializer_list<const char*> others;
};
const Alias aliases[] = {{"rms_norm_eps", {"norm_eps", "layer_norm_eps", "layer_norm_epsilon"}},
                         {"hidden_size", {"n_embd", "d_model"}},
                         {"num_hidden_layers", {"n_layer", "n_layers", "num_layers"}},
                         {"num_attention_heads", {"n_head", "n_heads", "num_heads"}},
                         {"num_key_value_heads", {"n_kv_heads", "num_kv_heads"}},
                         {"head_dim", {"head_size", "kv_channels", "attention_head_dim"}},
                         {"num_experts_per_tok", {"moe_top_k", "num_selected_experts"}},
                         {"rope_theta", {"rotary_base", "rope_base"}},
                         {"hidden_act", {"hidden_activation", "activation_function"}}};

/// The value that the model has for `key`, from the file or by default; null for an unknown key.
Json value_of(const ModelSpec& spec, const std::string& key) {
  if (key == "rms_norm_eps") return spec.norm_eps;
  if (key == "hidden_size") return spec.hidden_size;
  if (key == "num_hidden_layers") return spec.num_layers;
  if (key == "num_attention_heads") return spec.num_heads;
  if (key == "num_key_value_heads") return spec.num_kv_heads;
  if (key == "head_dim") return spec.head_size;
  if (key == "num_experts_per_tok") return spec.top_k;
  if (key == "rope_theta") return spec.rope_theta;
  return nullptr;
}

void refuse_aliases(HfReader& root, const ModelSpec& spec) {
  for (const Alias& alias : aliases) {
    const Json read = root.has(alias.key) ? root.value(alias.key) : value_of(spec, alias.key);
    for (const char* other : alias.others) {
      if (!root.has(other) || read.is_null() || root.value(other) == read) continue;
      root.problems().add(
          "{} = {} contradicts {} = {}, which is what this model_type reads. Remove {}, or correct "
          "{}.",
          other, JsonReader::shown(root.value(other)), alias.key, JsonReader::shown(read), other,
          alias.key);
    }
  }
}

void refuse_other_class(HfReader& root, const ModelSpec& spec) {
  if (!root.has("architectures")) return;
  const std::string expected =
      spec.family == "mixtral" ? "MixtralForCausalLM" : "Qwen3MoeForCausalLM";
  const Json& named = root.value("architectures");
  if (named == Json::array() || named == Json::array({expected}) || named == expected) return;
  root.problems().add(
      "architectures = {} contradicts model_type = \"{}\" (this version computes {}). Correct the "
      "wrong one.",
      JsonReader::shown(named), spec.family, expected);
}

/// Refuses keys whose neutral value depends on the model.
void refuse_other_formulas(HfReader& root, const ModelSpec& spec) {
  const auto refuse_unless = [&](const char* key, const Json& neutral) {
    if (root.has(key) && root.value(key) != neutral)
      root.not_computed(key, JsonReader::shown(root.value(key)), JsonReader::shown(neutral));
  };
  refuse_unless("scoring_func", "softmax");
  refuse_unless("use_qk_norm", spec.family == "qwen3_moe");
  refuse_unless("rotary_dim", spec.head_size);
  refuse_unless("query_pre_attn_scalar", spec.head_size);
}

/// Adds a remark when mlp_only_layers names a layer that the model does not have. Such a layer is
/// ignored, as in transformers.
void remark_dense_layers_beyond(HfReader& root, const ModelSpec& spec) {
  if (!root.has("mlp_only_layers") || !root.value("mlp_only_layers").is_array()) return;
  const Json& layers = root.value("mlp_only_layers");
  const auto beyond = std::ranges::find_if(layers, [&](const Json& layer) {
    return layer.is_number_integer() && (layer < 0 || layer >= spec.num_layers);
  });
  if (beyond != layers.end())
    root.remark(
        "mlp_only_layers names layer {}, which the model does not have (num_hidden_layers = {}); "
        "it is ignored.",
        beyond->dump(), spec.num_layers);
}

/// Refuses a use_sliding_window that contradicts the window as read. Only Qwen's class reads this
/// key; a Mixtral has a window whenever sliding_window is a number.
void refuse_window_switch(HfReader& root, std::int64_t window) {
  if (!root.has("use_sliding_window")) return;
  const bool is_on = root.boolean("use_sliding_window");
  if (is_on == (window > 0)) return;
  root.problems().add(
      "use_sliding_window = {} contradicts sliding_window = {}. Correct the wrong one.", is_on,
      window > 0 ? fmt::format("{}", window) : "null");
}

void refuse_layer_types(HfReader& root, std::int64_t window) {
  if (!root.has("layer_types")) return;
  const std::string expected = window > 0 ? "sliding_attention" : "full_attention";
  const Json& types = root.value("layer_types");
  const bool fits = types.is_array() &&
                    std::ranges::all_of(types, [&](const Json& type) { return type == expected; });
  if (!fits)
    root.problems().add(
        "layer_types = {} contradicts sliding_window (with it, all layers of this model_type are "
        "of type \"{}\"). Correct the wrong one.",
        JsonReader::shown(types), expected);
}

/// Refuses keys of Qwen, which Mixtral's class does not read, when their values contradict Mixtral.
void refuse_keys_of_qwen(HfReader& root, const ModelSpec& spec) {
  const auto refuse = [&](const char* key, const char* fact) {
    root.problems().add("{} = {} contradicts model_type = \"mixtral\" ({}). Correct the wrong one.",
                        key, JsonReader::shown(root.value(key)), fact);
  };
  if (root.has("norm_topk_prob") && root.value("norm_topk_prob") != true)
    refuse("norm_topk_prob", "which divides the gate weights by their sum");
  if (root.has("moe_intermediate_size") && root.value("moe_intermediate_size") != spec.expert_ffn)
    refuse("moe_intermediate_size", "whose experts have intermediate_size");
  if (root.has("decoder_sparse_step") && root.value("decoder_sparse_step") != 1)
    refuse("decoder_sparse_step", "which has experts in every layer");
  if (root.has("mlp_only_layers") && !root.value("mlp_only_layers").empty())
    refuse("mlp_only_layers", "which has experts in every layer");
}

}  // namespace

void refuse_features(HfReader& root) {
  for (const char* key : {"quantization_config", "compression_config", "quantization"})
    if (root.has(key))
      root.problems().add(
          "{} = {}: the weights are quantised, which this version does not read. Use the "
          "checkpoint in bf16 or f32 that they were made from.",
          key, JsonReader::shown(root.value(key)));
  for (const auto& [key, neutral] : features) {
    if (!root.has(key)) continue;
    const Json& value = root.value(key);
    if (value == false || value == 0 || value == neutral) continue;
    root.not_computed(key, JsonReader::shown(value), "none");
  }
}

void refuse_contradictions(HfReader& root, const ModelSpec& spec, std::int64_t window) {
  refuse_other_class(root, spec);
  refuse_aliases(root, spec);
  refuse_other_formulas(root, spec);
  remark_dense_layers_beyond(root, spec);
  refuse_window_switch(root, window);
  refuse_layer_types(root, window);
  if (spec.family == "mixtral") refuse_keys_of_qwen(root, spec);
}

}  // namespace tetrarch::hf
