// Reads, writes and derives the description of a model: the config_json of weights.h5.
// SPDX-License-Identifier: Apache-2.0
#include "plan/model_spec.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/json.hpp"
#include "plan/json_reader.hpp"

namespace tetrarch::plan {

using base::ExitCode;
using base::Json;

namespace {

template <class T>
using Named = std::pair<std::string_view, T>;

constexpr Named<base::DType> dtypes[] = {{"f32", base::DType::f32}, {"bf16", base::DType::bf16}};
constexpr Named<ExpertKind> expert_kinds[] = {{"glu", ExpertKind::glu}, {"mlp", ExpertKind::mlp}};
constexpr Named<Activation> activations[] = {
    {"silu", Activation::silu}, {"gelu_tanh", Activation::gelu_tanh}, {"gelu", Activation::gelu}};
constexpr Named<RouterScore> router_scores[] = {{"softmax_all", RouterScore::softmax_all}};
constexpr Named<RouterRenorm> router_renorms[] = {{"none", RouterRenorm::none},
                                                  {"sum", RouterRenorm::sum}};
constexpr Named<QkNorm> qk_norms[] = {{"none", QkNorm::none}, {"per_head", QkNorm::per_head}};
constexpr Named<RopeType> rope_types[] = {{"default", RopeType::standard},
                                          {"linear", RopeType::linear},
                                          {"llama3", RopeType::llama3},
                                          {"yarn", RopeType::yarn}};
// Keys of config_json of which only one value is computed.
constexpr Named<bool> norm_kinds[] = {{"rms", true}};
constexpr Named<bool> attention_kinds[] = {{"gqa", true}};
constexpr Named<bool> rope_styles[] = {{"half", true}};

template <class T, std::size_t N>
std::string name_in(const Named<T> (&table)[N], T value) {
  for (const auto& [name, meaning] : table)
    if (meaning == value) return std::string(name);
  base::expects(false, "a value that its table names");
  return {};
}

template <class T, std::size_t N>
T choice(JsonReader& reader, const char* key, const Named<T> (&table)[N]) {
  return reader.choice<T>(key, table);
}

void must_be_false(JsonReader& reader, const char* key) {
  if (reader.boolean(key))
    reader.problems().add("{} = true is not computed by this version. Use a model without it.",
                          reader.dotted(key));
}

// Keys of features that are not computed yet. They are refused as such, not as unknown keys.
using Later = std::initializer_list<std::string_view>;

void finish(JsonReader& reader, Later later) {
  reader.refuse_unread({later.begin(), later.size()});
}

void read_attention(JsonReader attention, ModelSpec& spec) {
  choice(attention, "kind", attention_kinds);
  spec.num_heads = attention.integer("num_heads");
  spec.num_kv_heads = attention.integer("num_kv_heads");
  spec.head_size = attention.integer("head_dim");
  spec.attention_scale = attention.real("scale");
  must_be_false(attention, "qkv_bias");
  must_be_false(attention, "o_bias");
  spec.qk_norm = choice(attention, "qk_norm", qk_norms);
  spec.window = attention.integers("window");
  finish(attention, {"v_head_dim", "fused_qkv", "clip_qkv", "sinks", "qk_norm_eps",
                     "qk_norm_after_rope", "mla"});
}

/// Reads only the keys that the type has; refuse_unread() then reports those of other types.
void read_rope_scaling(JsonReader& rope, RopeType type, RopeScaling& scaling) {
  if (type == RopeType::standard) return;
  scaling.factor = rope.real("factor");
  if (type == RopeType::linear) return;
  scaling.orig_max = rope.integer("orig_max");
  if (type == RopeType::llama3) {
    scaling.low_freq_factor = rope.real("low_freq_factor");
    scaling.high_freq_factor = rope.real("high_freq_factor");
    return;
  }
  scaling.beta_fast = rope.real("beta_fast");
  scaling.beta_slow = rope.real("beta_slow");
  scaling.truncate = rope.boolean("truncate");
  scaling.attention_factor = rope.real_or("attention_factor", 0);
  scaling.mscale = rope.real_or("mscale", 0);
  scaling.mscale_all_dim = rope.real_or("mscale_all_dim", 0);
}

Json rope_json(const ModelSpec& spec) {
  const RopeScaling& scaling = spec.rope_scaling;
  Json json = {{"style", "half"},
               {"dim", spec.rope_dim},
               {"theta", spec.rope_theta},
               {"type", name_in(rope_types, spec.rope_type)}};
  if (spec.rope_type == RopeType::standard) return json;
  json["factor"] = scaling.factor;
  if (spec.rope_type == RopeType::linear) return json;
  json["orig_max"] = scaling.orig_max;
  if (spec.rope_type == RopeType::llama3) {
    json["low_freq_factor"] = scaling.low_freq_factor;
    json["high_freq_factor"] = scaling.high_freq_factor;
    return json;
  }
  json["beta_fast"] = scaling.beta_fast;
  json["beta_slow"] = scaling.beta_slow;
  json["truncate"] = scaling.truncate;
  if (scaling.attention_factor != 0) json["attention_factor"] = scaling.attention_factor;
  if (scaling.mscale != 0) json["mscale"] = scaling.mscale;
  if (scaling.mscale_all_dim != 0) json["mscale_all_dim"] = scaling.mscale_all_dim;
  return json;
}

void read_rope(JsonReader rope, ModelSpec& spec) {
  choice(rope, "style", rope_styles);
  spec.rope_dim = rope.integer("dim");
  spec.rope_theta = rope.real("theta");
  spec.rope_type = choice(rope, "type", rope_types);
  read_rope_scaling(rope, spec.rope_type, spec.rope_scaling);
  finish(rope, {"factor", "orig_max", "attention_factor", "beta_fast", "beta_slow", "truncate",
                "mscale", "mscale_all_dim", "short_factor", "long_factor", "short_mscale",
                "long_mscale", "low_freq_factor", "high_freq_factor"});
}

void read_moe(JsonReader moe, ModelSpec& spec) {
  spec.is_moe = moe.booleans("is_moe");
  spec.num_experts = moe.integer("num_experts");
  spec.top_k = moe.integer("top_k");
  spec.expert_ffn = moe.integer("expert_ffn");
  spec.dense_ffn = moe.integer("dense_ffn");

  JsonReader router = moe.object("router");
  spec.router_score = choice(router, "score", router_scores);
  spec.router_renorm = choice(router, "renorm", router_renorms);
  spec.router_scale = router.real("scale");
  finish(router, {"linear_f32", "logits_bias", "select_bias", "groups", "groups_kept",
                  "group_score", "group_fill", "sparsemixer_eps", "weight_dtype", "softmax_dtype"});

  JsonReader expert = moe.object("expert");
  spec.expert_kind = choice(expert, "kind", expert_kinds);
  spec.activation = choice(expert, "act", activations);
  finish(expert, {"bias"});
  finish(moe, {"shared"});
}

}  // namespace

bool ModelSpec::has_dense_layers() const {
  return std::find(is_moe.begin(), is_moe.end(), false) != is_moe.end();
}

std::int64_t ModelSpec::num_parameters() const {
  const std::int64_t matrices = expert_kind == ExpertKind::glu ? 3 : 2;
  const std::int64_t attention = 2 * (num_heads + num_kv_heads) * head_size * hidden_size +
                                 (qk_norm == QkNorm::per_head ? 2 * head_size : 0);
  const std::int64_t experts = num_experts * (1 + matrices * expert_ffn) * hidden_size;
  const std::int64_t dense = matrices * dense_ffn * hidden_size;
  const std::int64_t num_dense = std::count(is_moe.begin(), is_moe.end(), false);
  const std::int64_t vocabulary = (tied_embeddings ? 1 : 2) * vocab_size * hidden_size;
  return vocabulary + num_layers * (2 * hidden_size + attention) +
         (num_layers - num_dense) * experts + num_dense * dense + hidden_size;
}

void set_derived(ModelSpec& spec) {
  spec.attention_scale = std::sqrt(1.0 / static_cast<double>(spec.head_size));
  spec.rope_dim = spec.head_size;
  spec.window.assign(static_cast<std::size_t>(spec.num_layers), 0);
  spec.is_moe.assign(static_cast<std::size_t>(spec.num_layers), true);
}

ModelSpec parse_model_spec(const std::string& config_json, const std::string& where) {
  const Json json = base::parse_json(config_json, where, ExitCode::weights);
  Problems problems;
  ModelSpec spec;
  JsonReader root(json, "", problems);
  spec.family = root.text("family");
  spec.dtype = choice(root, "dtype", dtypes);
  spec.vocab_size = root.integer("vocab_size");
  spec.num_layers = root.integer("num_layers");
  spec.hidden_size = root.integer("hidden_size");
  spec.max_position = root.integer("max_position");
  spec.tied_embeddings = root.boolean("tied_embeddings");

  JsonReader norm = root.object("norm");
  choice(norm, "kind", norm_kinds);
  spec.norm_eps = norm.real("eps");
  finish(norm, {"bias"});
  read_attention(root.object("attention"), spec);
  read_rope(root.object("rope"), spec);
  read_moe(root.object("moe"), spec);
  finish(root, {"embedding_multiplier", "residual_multiplier", "logits_divisor", "lm_head_bias",
                "weights"});

  problems.refuse(ExitCode::weights, where);
  validate(spec, where);
  return spec;
}

std::string to_config_json(const ModelSpec& spec) {
  Json json;
  json["family"] = spec.family;
  json["dtype"] = std::string(base::name_of(spec.dtype));
  json["vocab_size"] = spec.vocab_size;
  json["num_layers"] = spec.num_layers;
  json["hidden_size"] = spec.hidden_size;
  json["max_position"] = spec.max_position;
  json["tied_embeddings"] = spec.tied_embeddings;
  json["norm"] = {{"kind", "rms"}, {"eps", spec.norm_eps}};
  json["attention"] = {{"kind", "gqa"},
                       {"num_heads", spec.num_heads},
                       {"num_kv_heads", spec.num_kv_heads},
                       {"head_dim", spec.head_size},
                       {"scale", spec.attention_scale},
                       {"qkv_bias", false},
                       {"o_bias", false},
                       {"qk_norm", name_in(qk_norms, spec.qk_norm)},
                       {"window", spec.window}};
  json["rope"] = rope_json(spec);
  json["moe"] = {{"is_moe", spec.is_moe},
                 {"num_experts", spec.num_experts},
                 {"top_k", spec.top_k},
                 {"expert_ffn", spec.expert_ffn},
                 {"dense_ffn", spec.dense_ffn}};
  json["moe"]["router"] = {{"score", name_in(router_scores, spec.router_score)},
                           {"renorm", name_in(router_renorms, spec.router_renorm)},
                           {"scale", spec.router_scale}};
  json["moe"]["expert"] = {{"kind", name_in(expert_kinds, spec.expert_kind)},
                           {"act", name_in(activations, spec.activation)}};
  return json.dump();
}

}  // namespace tetrarch::plan
