// Hugging Face's config.json, translated into a ModelSpec.
// SPDX-License-Identifier: Apache-2.0
#include "plan/hf_config.hpp"

#include <fmt/format.h>

#include "base/json.hpp"
#include "plan/json_reader.hpp"
#include "plan/shard.hpp"

namespace tetrarch::plan {

using base::ExitCode;
using base::Json;

namespace {

void not_computed(JsonReader& reader, const std::string& key, const std::string& value,
                  const std::string& computed) {
  reader.problems().add("{} = {} is not computed by this version (which has {}).",
                        reader.dotted(key), value, computed);
}

/// A key whose neutral value is absent, null, false or 0.
void must_be_neutral(JsonReader& reader, const Json& config, const char* key) {
  if (!reader.has(key)) return;
  const Json& value = config.at(key);
  if (value == Json(false) || value == Json(0)) return;
  not_computed(reader, key, JsonReader::shown(value), "none");
}

/// The first of several spellings that the file has, else the first.
std::string spelling(const JsonReader& reader, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (reader.has(key)) return key;
  return *keys.begin();
}

base::DType read_dtype(JsonReader& root) {
  const std::string key = spelling(root, {"dtype", "torch_dtype"});
  const std::string name = root.text_or(key, "float32");
  if (name == "bfloat16") return base::DType::bf16;
  // float16 widens to f32 without loss
  if (name != "float32" && name != "float16")
    not_computed(root, key, JsonReader::shown(name), "float32, bfloat16, float16");
  return base::DType::f32;
}

Activation read_activation(JsonReader& root) {
  const std::string name = root.text_or("hidden_act", "silu");
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name != "silu" && name != "swish")
    not_computed(root, "hidden_act", JsonReader::shown(name), "silu, gelu, gelu_pytorch_tanh");
  return Activation::silu;
}

/// theta stands beside, or (newer files) inside, the dictionary that names the type.
double read_rope_theta(JsonReader& root) {
  double theta = root.real_or("rope_theta", 1e6);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!root.has(key)) continue;
    JsonReader rope = root.object(key);
    if (rope.has("full_attention") || rope.has("sliding_attention"))
      root.problems().add(
          "{} by kind of layer is not computed by this version (which has one for "
          "all layers).",
          key);
    const std::string type_key = spelling(rope, {"rope_type", "type"});
    const std::string type = rope.text_or(type_key, "default");
    if (type != "default") not_computed(rope, type_key, JsonReader::shown(type), "\"default\"");
    if (rope.real_or("partial_rotary_factor", 1) != 1)
      root.problems().add("{}.partial_rotary_factor is not computed by this version.", key);
    theta = rope.real_or("rope_theta", theta);
  }
  if (root.real_or("partial_rotary_factor", 1) != 1)
    root.problems().add("partial_rotary_factor is not computed by this version.");
  return theta;
}

void read_attention(JsonReader& root, ModelSpec& spec) {
  spec.num_heads = root.integer_or("num_attention_heads", 32);
  // absent: the class default; null: as many as heads
  const bool is_absent = !root.has_key("num_key_value_heads");
  spec.num_kv_heads = root.integer_or("num_key_value_heads", is_absent ? 8 : spec.num_heads);
  const std::int64_t heads = spec.num_heads;
  if (!root.has("head_dim") && heads > 0 && spec.hidden_size % heads != 0)
    root.problems().add(
        "hidden_size = {} is no multiple of num_attention_heads = {}, and head_dim "
        "is not given.",
        spec.hidden_size, heads);
  spec.head_size = root.integer_or("head_dim", heads > 0 ? spec.hidden_size / heads : 0);
}

void read_sizes(JsonReader& root, ModelSpec& spec) {
  spec.vocab_size = root.integer_or("vocab_size", 32000);
  spec.num_layers = root.integer_or("num_hidden_layers", 32);
  spec.hidden_size = root.integer_or("hidden_size", 4096);
  spec.max_position = root.integer_or("max_position_embeddings", 131072);
  spec.tied_embeddings = root.boolean_or("tie_word_embeddings", false);
  spec.norm_eps = root.real_or("rms_norm_eps", 1e-5);
  spec.num_experts =
      root.integer_or(spelling(root, {"num_local_experts", "num_experts", "n_routed_experts"}), 8);
  spec.top_k = root.integer_or("num_experts_per_tok", 2);
  spec.expert_ffn = root.integer_or("intermediate_size", 14336);
}

std::string expert_tensor(Role role) {
  return role == Role::gate ? "w1" : role == Role::up ? "w3" : "w2";
}

/// Names of one tensor (of one expert where it has any) after "model.layers.N.".
std::vector<std::string> names_in_layer(Role role, std::int64_t expert) {
  switch (role) {
    case Role::attn_norm:
      return {"input_layernorm.weight"};
    case Role::moe_norm:
      return {"post_attention_layernorm.weight"};
    case Role::q:
      return {"self_attn.q_proj.weight"};
    case Role::k:
      return {"self_attn.k_proj.weight"};
    case Role::v:
      return {"self_attn.v_proj.weight"};
    case Role::o:
      return {"self_attn.o_proj.weight"};
    case Role::router:
      return {"block_sparse_moe.gate.weight", "mlp.gate.weight"};
    default:
      break;
  }
  const std::string tail = fmt::format("experts.{}.{}.weight", expert, expert_tensor(role));
  return {"block_sparse_moe." + tail, "mlp." + tail};
}

std::vector<std::string> names_of(const TensorSpec& tensor, std::int64_t expert) {
  switch (tensor.role) {
    case Role::embed:
      return {"model.embed_tokens.weight"};
    case Role::head:
      return {"lm_head.weight"};
    case Role::final_norm:
      return {"model.norm.weight"};
    default:
      break;
  }
  std::vector<std::string> names = names_in_layer(tensor.role, expert);
  for (std::string& name : names)
    name = fmt::format("model.layers.{}.{}", tensor.layer, name);
  return names;
}

}  // namespace

ModelSpec from_hugging_face(const Json& config, const std::string& where) {
  Problems problems;
  JsonReader root(config, "", problems);
  problems.refuse(ExitCode::weights, where);
  const std::string model_type = root.text("model_type");
  if (model_type != "mixtral")
    not_computed(root, "model_type", JsonReader::shown(model_type), "\"mixtral\"");
  problems.refuse(ExitCode::weights, where);  // other families have other keys

  ModelSpec spec;
  spec.family = model_type;
  spec.dtype = read_dtype(root);
  spec.activation = read_activation(root);
  read_sizes(root, spec);
  read_attention(root, spec);
  spec.rope_theta = read_rope_theta(root);
  const std::int64_t window = root.integer_or("sliding_window", 0);
  if (root.has("sliding_window") && window < 1)
    problems.add("sliding_window = {} is not a positive number or null.", window);
  must_be_neutral(root, config, "attention_bias");
  must_be_neutral(root, config, "quantization_config");
  problems.refuse(ExitCode::weights, where);

  // Out of range, these are refused below; until then nothing is sized by them.
  const bool has_sane_sizes =
      spec.num_layers >= 1 && spec.num_layers <= 4096 && spec.head_size >= 1;
  if (has_sane_sizes) {
    set_derived(spec);
    if (window < spec.max_position) spec.window.assign(spec.window.size(), window);
  }
  validate(spec, where);
  return spec;
}

std::vector<TensorSource> tensor_sources(const ModelSpec& spec) {
  std::vector<TensorSource> sources;
  for (const TensorSpec& tensor : tensors_of(spec, 1)) {
    TensorSource source;
    source.path = tensor.path;
    source.is_transposed = tensor.role == Role::o || tensor.role == Role::down;
    for (std::int64_t expert = 0; expert < tensor.num_experts; ++expert)
      source.pieces.push_back(names_of(tensor, expert));
    sources.push_back(std::move(source));
  }
  return sources;
}

}  // namespace tetrarch::plan
