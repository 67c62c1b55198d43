// Translates the config.json of a Hugging Face checkpoint into a ModelSpec.
// SPDX-License-Identifier: Apache-2.0
#include "import/hf_config.hpp"

#include <fmt/format.h>

#include "base/json.hpp"
#include "import/hf_contradictions.hpp"
#include "import/hf_reader.hpp"
#include "import/hf_rope.hpp"

namespace tetrarch::hf {

using plan::Activation;
using plan::JsonReader;
using plan::ModelSpec;
using plan::Problems;
using plan::QkNorm;
using plan::RouterRenorm;
using plan::validate;

using base::ExitCode;
using base::Json;

namespace {

/// The defaults of a family's configuration class in transformers, and its key for the width of an
/// expert.
struct Family {
  const char* model_type;
  std::int64_t vocab_size, num_layers, hidden_size, max_position;
  double norm_eps, rope_theta;
  std::int64_t num_heads, num_kv_heads, num_experts, top_k;
  const char* expert_ffn_key;
  std::int64_t expert_ffn;
};
constexpr Family mixtral = {"mixtral",           32000, 32, 4096, 131072, 1e-5, 1e6, 32, 8, 8, 2,
                            "intermediate_size", 14336};
constexpr Family qwen3_moe = {
    "qwen3_moe", 151936, 24, 2048, 32768, 1e-6, 1e4, 32, 4, 128, 8, "moe_intermediate_size", 768};

base::DType read_dtype(HfReader& root) {
  const std::string key = root.agreed({"dtype", "torch_dtype"});
  const std::string name = root.text_by_default(key, "float32");
  if (name == "bfloat16") return base::DType::bf16;
  // every float16 value is also an f32 value
  if (name != "float32" && name != "float16")
    root.not_computed(key, JsonReader::shown(name), "float32, bfloat16, float16");
  return base::DType::f32;
}

Activation read_activation(HfReader& root) {
  const std::string name = root.text_by_default("hidden_act", "silu");
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name != "silu" && name != "swish")
    root.not_computed("hidden_act", JsonReader::shown(name), "silu, gelu, gelu_pytorch_tanh");
  return Activation::silu;
}

void read_attention(HfReader& root, const Family& family, ModelSpec& spec) {
  spec.num_heads = root.integer_by_default("num_attention_heads", family.num_heads);
  // an absent key means the class default; null means num_attention_heads
  if (root.has_key("num_key_value_heads"))
    spec.num_kv_heads =
        root.integer_by_default("num_key_value_heads", spec.num_heads, "num_attention_heads");
  else
    spec.num_kv_heads = root.integer_by_default("num_key_value_heads", family.num_kv_heads);
  const std::int64_t heads = spec.num_heads;
  if (!root.has("head_dim") && heads > 0 && spec.hidden_size % heads != 0)
    root.problems().add(
        "hidden_size = {} is no multiple of num_attention_heads = {}, and head_dim "
        "is not given.",
        spec.hidden_size, heads);
  spec.head_size = root.integer_by_default("head_dim", heads > 0 ? spec.hidden_size / heads : 0,
                                           "hidden_size / num_attention_heads");
}

void read_sizes(HfReader& root, const Family& family, ModelSpec& spec) {
  spec.vocab_size = root.integer_by_default("vocab_size", family.vocab_size);
  spec.num_layers = root.integer_by_default("num_hidden_layers", family.num_layers);
  spec.hidden_size = root.integer_by_default("hidden_size", family.hidden_size);
  spec.max_position = root.integer_by_default("max_position_embeddings", family.max_position);
  spec.tied_embeddings = root.boolean_by_default("tie_word_embeddings", false);
  spec.norm_eps = root.real_by_default("rms_norm_eps", family.norm_eps);
  spec.num_experts = root.integer_by_default(
      root.agreed({"num_local_experts", "num_experts", "n_routed_experts"}), family.num_experts);
  spec.top_k = root.integer_by_default("num_experts_per_tok", family.top_k);
  spec.expert_ffn = root.integer_by_default(family.expert_ffn_key, family.expert_ffn);
}

/// The number of tokens that a query attends to, its own included; 0: all up to its own.
std::int64_t read_window(HfReader& root, const Family& family) {
  constexpr const char* key = "sliding_window";
  std::int64_t fallback = 0;
  if (&family == &qwen3_moe) {
    if (!root.boolean_by_default("use_sliding_window", false)) {
      if (root.has(key))
        root.remark("sliding_window = {} is not used, because use_sliding_window is not true.",
                    JsonReader::shown(root.value(key)));
      return 0;
    }
    fallback = root.has_key(key) ? 0 : 4096;
  }
  if (!root.has_key(key))
    root.remark_default(key, fallback == 0 ? "none" : fmt::format("{}", fallback),
                        "the default of its class");
  const std::int64_t window = root.integer_or(key, fallback);
  if (window > 0 && root.has("max_window_layers"))
    root.remark("max_window_layers = {} is not used: every layer has the window.",
                JsonReader::shown(root.value("max_window_layers")));
  if (root.has(key) && window < 1)
    root.problems().add("sliding_window = {} is not a positive number or null.", window);
  return window;
}

/// Layers step - 1, 2 * step - 1, ... have experts, except those listed in mlp_only_layers. The
/// others are dense, of width intermediate_size.
void read_dense_layers(HfReader& root, ModelSpec& spec) {
  const std::int64_t step = root.integer_by_default("decoder_sparse_step", 1);
  if (step < 1) {
    root.problems().add("decoder_sparse_step = {} is not a positive number.", step);
    return;
  }
  for (std::int64_t layer = 0; layer < spec.num_layers; ++layer)
    spec.is_moe[static_cast<std::size_t>(layer)] = (layer + 1) % step == 0;
  if (!root.has_key("mlp_only_layers"))
    root.remark_default("mlp_only_layers", "[]", "the default of its class");
  if (root.has("mlp_only_layers"))
    for (const std::int64_t layer : root.integers("mlp_only_layers"))
      if (layer >= 0 && layer < spec.num_layers)
        spec.is_moe[static_cast<std::size_t>(layer)] = false;
  if (spec.has_dense_layers()) spec.dense_ffn = root.integer_by_default("intermediate_size", 6144);
}

void read_qwen3_moe(HfReader& root, ModelSpec& spec) {
  spec.qk_norm = QkNorm::per_head;
  spec.router_renorm =
      root.boolean_by_default("norm_topk_prob", false) ? RouterRenorm::sum : RouterRenorm::none;
  read_dense_layers(root, spec);
}

/// What other keys of the file say about its family; added to a message.
std::string class_of(HfReader& root) {
  if (root.has("architectures"))
    return "; its architectures are " + JsonReader::shown(root.value("architectures"));
  if (root.has("text_config") && root.value("text_config").contains("model_type"))
    return "; the model_type of its text_config is " +
           JsonReader::shown(root.value("text_config").at("model_type"));
  return "";
}

const Family& read_family(HfReader& root) {
  const std::string model_type = root.text("model_type");
  for (const Family* family : {&mixtral, &qwen3_moe})
    if (model_type == family->model_type) return *family;
  root.problems().add(
      "model_type = {} is not computed by this version (which has \"mixtral\" and "
      "\"qwen3_moe\"{}).",
      JsonReader::shown(model_type), class_of(root));
  return mixtral;
}

}  // namespace

ModelSpec from_hugging_face(const Json& config, const std::string& where,
                            std::vector<std::string>* remarks) {
  Problems problems;
  std::vector<std::string> found;
  HfReader root(config, "", problems, found);
  problems.refuse(ExitCode::weights, where);
  const Family& family = read_family(root);
  problems.refuse(ExitCode::weights, where);  // another family has other keys: read no further

  ModelSpec spec;
  spec.family = family.model_type;
  refuse_features(root);
  spec.dtype = read_dtype(root);
  spec.activation = read_activation(root);
  read_sizes(root, family, spec);
  read_attention(root, family, spec);
  read_hugging_face_rope(root, family.rope_theta, spec);
  const std::int64_t window = read_window(root, family);
  refuse_contradictions(root, spec, window);
  problems.refuse(ExitCode::weights, where);

  // validate() below refuses sizes out of range; before that no list is allocated with them.
  const bool has_sane_sizes =
      spec.num_layers >= 1 && spec.num_layers <= 4096 && spec.head_size >= 1;
  if (has_sane_sizes) {
    set_derived(spec);
    if (window < spec.max_position) spec.window.assign(spec.window.size(), window);
    if (&family == &qwen3_moe) read_qwen3_moe(root, spec);
  }
  problems.refuse(ExitCode::weights, where);
  validate(spec, where);
  if (remarks) *remarks = std::move(found);
  return spec;
}

std::string dtype_in(const Json& config) {
  for (const char* key : {"dtype", "torch_dtype"})
    if (config.contains(key) && config.at(key).is_string()) return config.at(key);
  return "";
}

}  // namespace tetrarch::hf
