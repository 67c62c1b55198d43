// Hugging Face's config.json, translated into a ModelSpec.
// SPDX-License-Identifier: Apache-2.0
#include "plan/hf_config.hpp"

#include <fmt/format.h>

#include "base/json.hpp"
#include "plan/hf_rope.hpp"
#include "plan/json_reader.hpp"

namespace tetrarch::plan {

using base::ExitCode;
using base::Json;

namespace {

/// What a family's class means by an absent key, and how it calls the width of its experts.
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

/// A key whose neutral value is absent, null, false or 0.
void must_be_neutral(JsonReader& reader, const Json& config, const char* key) {
  if (!reader.has(key)) return;
  const Json& value = config.at(key);
  if (value == Json(false) || value == Json(0)) return;
  reader.not_computed(key, JsonReader::shown(value), "none");
}

base::DType read_dtype(JsonReader& root) {
  const std::string key = root.spelling({"dtype", "torch_dtype"});
  const std::string name = root.text_or(key, "float32");
  if (name == "bfloat16") return base::DType::bf16;
  // float16 widens to f32 without loss
  if (name != "float32" && name != "float16")
    root.not_computed(key, JsonReader::shown(name), "float32, bfloat16, float16");
  return base::DType::f32;
}

Activation read_activation(JsonReader& root) {
  const std::string name = root.text_or("hidden_act", "silu");
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name != "silu" && name != "swish")
    root.not_computed("hidden_act", JsonReader::shown(name), "silu, gelu, gelu_pytorch_tanh");
  return Activation::silu;
}

void read_attention(JsonReader& root, const Family& family, ModelSpec& spec) {
  spec.num_heads = root.integer_or("num_attention_heads", family.num_heads);
  // absent: the class default; null: as many as heads
  const bool is_absent = !root.has_key("num_key_value_heads");
  spec.num_kv_heads =
      root.integer_or("num_key_value_heads", is_absent ? family.num_kv_heads : spec.num_heads);
  const std::int64_t heads = spec.num_heads;
  if (!root.has("head_dim") && heads > 0 && spec.hidden_size % heads != 0)
    root.problems().add(
        "hidden_size = {} is no multiple of num_attention_heads = {}, and head_dim "
        "is not given.",
        spec.hidden_size, heads);
  spec.head_size = root.integer_or("head_dim", heads > 0 ? spec.hidden_size / heads : 0);
}

void read_sizes(JsonReader& root, const Family& family, ModelSpec& spec) {
  spec.vocab_size = root.integer_or("vocab_size", family.vocab_size);
  spec.num_layers = root.integer_or("num_hidden_layers", family.num_layers);
  spec.hidden_size = root.integer_or("hidden_size", family.hidden_size);
  spec.max_position = root.integer_or("max_position_embeddings", family.max_position);
  spec.tied_embeddings = root.boolean_or("tie_word_embeddings", false);
  spec.norm_eps = root.real_or("rms_norm_eps", family.norm_eps);
  spec.num_experts = root.integer_or(
      root.spelling({"num_local_experts", "num_experts", "n_routed_experts"}), family.num_experts);
  spec.top_k = root.integer_or("num_experts_per_tok", family.top_k);
  spec.expert_ffn = root.integer_or(family.expert_ffn_key, family.expert_ffn);
}

/// Tokens that a query sees, 0: all before it.
std::int64_t read_window(JsonReader& root, const Family& family) {
  std::int64_t fallback = 0;
  if (&family == &qwen3_moe) {
    if (!root.boolean_or("use_sliding_window", false)) return 0;
    fallback = root.has_key("sliding_window") ? 0 : 4096;
  }
  const std::int64_t window = root.integer_or("sliding_window", fallback);
  if (root.has("sliding_window") && window < 1)
    root.problems().add("sliding_window = {} is not a positive number or null.", window);
  return window;
}

/// Experts in every step-th layer but those listed; the others have intermediate_size.
void read_dense_layers(JsonReader& root, ModelSpec& spec) {
  const std::int64_t step = root.integer_or("decoder_sparse_step", 1);
  if (step < 1) {
    root.problems().add("decoder_sparse_step = {} is not a positive number.", step);
    return;
  }
  for (std::int64_t layer = 0; layer < spec.num_layers; ++layer)
    spec.is_moe[static_cast<std::size_t>(layer)] = (layer + 1) % step == 0;
  if (root.has("mlp_only_layers"))
    for (const std::int64_t layer : root.integers("mlp_only_layers"))
      if (layer >= 0 && layer < spec.num_layers)
        spec.is_moe[static_cast<std::size_t>(layer)] = false;
  if (spec.has_dense_layers()) spec.dense_ffn = root.integer_or("intermediate_size", 6144);
}

void read_qwen3_moe(JsonReader& root, ModelSpec& spec) {
  spec.qk_norm = QkNorm::per_head;
  spec.router_renorm =
      root.boolean_or("norm_topk_prob", false) ? RouterRenorm::sum : RouterRenorm::none;
  read_dense_layers(root, spec);
}

const Family& read_family(JsonReader& root) {
  const std::string model_type = root.text("model_type");
  for (const Family* family : {&mixtral, &qwen3_moe})
    if (model_type == family->model_type) return *family;
  root.not_computed("model_type", JsonReader::shown(model_type), "\"mixtral\", \"qwen3_moe\"");
  return mixtral;
}

}  // namespace

ModelSpec from_hugging_face(const Json& config, const std::string& where) {
  Problems problems;
  JsonReader root(config, "", problems);
  problems.refuse(ExitCode::weights, where);
  const Family& family = read_family(root);
  problems.refuse(ExitCode::weights, where);  // other families have other keys

  ModelSpec spec;
  spec.family = family.model_type;
  spec.dtype = read_dtype(root);
  spec.activation = read_activation(root);
  read_sizes(root, family, spec);
  read_attention(root, family, spec);
  read_hugging_face_rope(root, family.rope_theta, spec);
  const std::int64_t window = read_window(root, family);
  must_be_neutral(root, config, "attention_bias");
  must_be_neutral(root, config, "quantization_config");
  problems.refuse(ExitCode::weights, where);

  // Out of range, these are refused below; until then nothing is sized by them.
  const bool has_sane_sizes =
      spec.num_layers >= 1 && spec.num_layers <= 4096 && spec.head_size >= 1;
  if (has_sane_sizes) {
    set_derived(spec);
    if (window < spec.max_position) spec.window.assign(spec.window.size(), window);
    if (&family == &qwen3_moe) read_qwen3_moe(root, spec);
  }
  problems.refuse(ExitCode::weights, where);
  validate(spec, where);
  return spec;
}

}  // namespace tetrarch::plan
