// What a model is: the config_json of weights.h5 as a value, checked.
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
// Features with a name in config_json and one value that is computed.
constexpr Named<bool> norm_kinds[] = {{"rms", true}};
constexpr Named<bool> attention_kinds[] = {{"gqa", true}};
constexpr Named<bool> qk_norms[] = {{"none", true}};
constexpr Named<bool> rope_styles[] = {{"half", true}};
constexpr Named<bool> rope_types[] = {{"default", true}};

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

// Names of features to come, by level; each is refused as such rather than as a misspelling.
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
  choice(attention, "qk_norm", qk_norms);
  spec.window = attention.integers("window");
  finish(attention, {"v_head_dim", "fused_qkv", "clip_qkv", "sinks", "qk_norm_eps",
                     "qk_norm_after_rope", "mla"});
}

void read_rope(JsonReader rope, ModelSpec& spec) {
  choice(rope, "style", rope_styles);
  spec.rope_dim = rope.integer("dim");
  spec.rope_theta = rope.real("theta");
  choice(rope, "type", rope_types);
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

std::int64_t ModelSpec::num_parameters() const {
  const std::int64_t matrices = expert_kind == ExpertKind::glu ? 3 : 2;
  const std::int64_t attention = 2 * (num_heads + num_kv_heads) * head_size * hidden_size;
  const std::int64_t experts = matrices * num_experts * expert_ffn * hidden_size;
  const std::int64_t layer = 2 * hidden_size + attention + num_experts * hidden_size + experts;
  const std::int64_t vocabulary = (tied_embeddings ? 1 : 2) * vocab_size * hidden_size;
  return vocabulary + num_layers * layer + hidden_size;
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
                       {"qk_norm", "none"},
                       {"window", spec.window}};
  json["rope"] = {
      {"style", "half"}, {"dim", spec.rope_dim}, {"theta", spec.rope_theta}, {"type", "default"}};
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
