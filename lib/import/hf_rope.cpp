// Reads the RoPE keys of Hugging Face's config.json, in the spelling of older and newer files.
// SPDX-License-Identifier: Apache-2.0
#include "import/hf_rope.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/text.hpp"

namespace tetrarch::hf {
namespace {

using plan::JsonReader;
using plan::ModelSpec;
using plan::RopeScaling;
using plan::RopeType;

using base::Json;

constexpr std::size_t most_keys = 100;  // of a dictionary: bounds the time to merge two of them
constexpr const char* orig_key = "original_max_position_embeddings";

/// The dictionary under `key`; null when it is absent. A value that is no dictionary adds a problem
/// and gives {}.
Json dictionary(HfReader& root, const char* key) {
  if (!root.has(key)) return nullptr;
  root.object(key);  // adds the problem when it is no dictionary
  const Json& value = root.value(key);
  if (value.size() > most_keys) {
    root.problems().add("{} has {} keys (expected {} at most).", key, value.size(), most_keys);
    return Json::object();
  }
  return value.is_object() ? value : Json::object();
}

bool is_null_or_default(const Json& rope) {
  for (const char* key : {"rope_type", "type"})
    if (rope.contains(key) && !rope.at(key).is_null() && rope.at(key) != "default") return false;
  return true;
}

/// Merges rope_scaling (older files) and rope_parameters (newer files; it also has rope_theta) into
/// one dictionary. transformers 5 writes rope_parameters of type "default" into every file, and
/// model cards ask users to add a rope_scaling; in that case rope_scaling decides the type.
Json merged(HfReader& root, Json scaling, Json parameters) {
  if (scaling.is_null()) return parameters;
  if (parameters.is_null()) return scaling;
  if (is_null_or_default(parameters) && !is_null_or_default(scaling)) {
    for (const char* key : {"rope_type", "type"})
      parameters.erase(key);
    root.remark(
        "rope_scaling = {} names the type of RoPE; rope_parameters, which is of type default, only "
        "adds keys.",
        JsonReader::shown(scaling));
  }
  for (const auto& [key, value] : parameters.items()) {
    if (value.is_null()) continue;
    Json& other = scaling[key];
    if (!other.is_null() && other != value)
      root.problems().add(
          "rope_scaling.{} = {} and rope_parameters.{} = {} contradict each other. Remove the "
          "wrong one.",
          base::shown(key), JsonReader::shown(other), base::shown(key), JsonReader::shown(value));
    other = value;
  }
  return scaling;
}

RopeType read_type(HfReader& rope) {
  constexpr std::pair<std::string_view, RopeType> types[] = {{"default", RopeType::standard},
                                                             {"linear", RopeType::linear},
                                                             {"llama3", RopeType::llama3},
                                                             {"yarn", RopeType::yarn}};
  const std::string key = rope.agreed({"rope_type", "type"});
  const std::string name = rope.text_or(key, "default");
  for (const auto& [known, type] : types)
    if (name == known) return type;
  rope.not_computed(key, JsonReader::shown(name), "default, linear, llama3, yarn");
  return RopeType::standard;
}

/// The value of a key, or `fallback` when it is absent, null or 0.
double real_unless_zero(HfReader& rope, const char* key, double fallback) {
  const double value = rope.real_by_default(key, fallback, "the default of YaRN");
  return value == 0 ? fallback : value;
}

void read_yarn(HfReader& rope, ModelSpec& spec) {
  RopeScaling& scaling = spec.rope_scaling;
  const double stretched = static_cast<double>(spec.max_position);
  const double fallback =
      scaling.orig_max > 0 ? stretched / static_cast<double>(scaling.orig_max) : 0;
  scaling.factor = rope.real_by_default(
      "factor", fallback, "max_position_embeddings / original_max_position_embeddings");
  scaling.beta_fast = real_unless_zero(rope, "beta_fast", 32);
  scaling.beta_slow = real_unless_zero(rope, "beta_slow", 1);
  scaling.truncate = rope.boolean_or("truncate", true);
  scaling.attention_factor = rope.real_or("attention_factor", 0);
  if (rope.has("attention_factor") && !(scaling.attention_factor > 0))
    rope.problems().add("{} = {} is not a positive number or null.",
                        rope.dotted("attention_factor"), scaling.attention_factor);
  scaling.mscale = rope.real_or("mscale", 0);
  scaling.mscale_all_dim = rope.real_or("mscale_all_dim", 0);
}

void read_scaling(HfReader& root, HfReader& rope, ModelSpec& spec) {
  RopeScaling& scaling = spec.rope_scaling;
  if (spec.rope_type == RopeType::linear) scaling.factor = rope.real("factor");
  if (spec.rope_type != RopeType::llama3 && spec.rope_type != RopeType::yarn) return;
  root.must_agree(orig_key, rope, orig_key);
  if (root.has(orig_key))
    scaling.orig_max = root.integer(orig_key);
  else
    scaling.orig_max =
        rope.integer_by_default(orig_key, spec.max_position, "max_position_embeddings");
  if (spec.rope_type == RopeType::yarn) {
    read_yarn(rope, spec);
    return;
  }
  scaling.factor = rope.real("factor");
  scaling.low_freq_factor = rope.real("low_freq_factor");
  scaling.high_freq_factor = rope.real("high_freq_factor");
}

/// Sets max_position, the limit on positions. Some files with YaRN give max_position_embeddings
/// without the factor (model cards ask users to add YaRN to such a file), others with it. So with
/// YaRN the limit is the larger of max_position_embeddings and factor x original positions. For the
/// other types it is max_position_embeddings: their files mostly include the factor in it.
void set_limit(HfReader& root, ModelSpec& spec) {
  const bool is_yarn = spec.rope_type == RopeType::yarn;
  const std::int64_t given = spec.max_position;
  const double orig = is_yarn || spec.rope_type == RopeType::llama3
                          ? static_cast<double>(spec.rope_scaling.orig_max)
                          : static_cast<double>(given);
  const double reached = std::floor(orig * spec.rope_scaling.factor);
  if (spec.rope_type == RopeType::standard || reached == static_cast<double>(given)) return;
  if (is_yarn && reached > static_cast<double>(given) && reached < 0x1p53) {
    spec.max_position = static_cast<std::int64_t>(reached);
    root.remark(
        "max_position is {}: YaRN's factor {} times {} positions, which is more than "
        "max_position_embeddings = {}.",
        spec.max_position, spec.rope_scaling.factor, spec.rope_scaling.orig_max, given);
  } else if (reached > static_cast<double>(given)) {
    root.remark(
        "max_position is {} (max_position_embeddings), although RoPE's factor {} may reach {}. Set "
        "max_position_embeddings to that number if the model is meant for it.",
        given, spec.rope_scaling.factor, reached);
  } else {
    root.remark(
        "max_position is {} (max_position_embeddings), although RoPE's factor {} times {} "
        "positions reaches only {}.",
        given, spec.rope_scaling.factor, spec.rope_scaling.orig_max, reached);
  }
}

/// Refuses a factor without a type of RoPE: type "default" would ignore it.
void refuse_factor_without_type(HfReader& rope) {
  const Json type = rope.has("rope_type") ? rope.value("rope_type")
                    : rope.has("type")    ? rope.value("type")
                                          : Json("default");
  if (type != "default" || !rope.has("factor") || rope.value("factor") == 1) return;
  rope.problems().add(
      "{} = {} is given, but the type of RoPE is default, which has no factor. Name the type "
      "(rope_type), or remove the factor.",
      rope.dotted("factor"), JsonReader::shown(rope.value("factor")));
}

using Keys = std::vector<std::string_view>;

/// The keys that a type of RoPE has besides those that every type has.
Keys keys_of(RopeType type) {
  switch (type) {
    case RopeType::standard:  // a factor other than 1 has been refused
    case RopeType::linear:
      return {"factor"};
    case RopeType::llama3:
      return {"factor", "low_freq_factor", "high_freq_factor", orig_key};
    case RopeType::yarn:
      return {"factor",           "beta_fast", "beta_slow",      "truncate",
              "attention_factor", "mscale",    "mscale_all_dim", orig_key};
  }
  return {};
}

/// Adds a remark for each key of the dictionary that the type of RoPE does not use.
void remark_unused(HfReader& rope, const Json& dictionary, const ModelSpec& spec) {
  const Keys of_all = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
  const Keys of_type = keys_of(spec.rope_type);
  for (const auto& [key, value] : dictionary.items())
    if (!value.is_null() && std::ranges::find(of_all, key) == of_all.end() &&
        std::ranges::find(of_type, key) == of_type.end())
      rope.remark("{} = {} is not used: RoPE of this type has no such key.",
                  rope.dotted(base::shown(key)), JsonReader::shown(value));
}

void refuse_partial(HfReader& reader) {
  if (reader.real_or("partial_rotary_factor", 1) != 1)
    reader.problems().add("{} is not computed by this version.",
                          reader.dotted("partial_rotary_factor"));
}

}  // namespace

// rope_theta stands beside the dictionary that names the type, or, in newer files, inside it.
void read_hugging_face_rope(HfReader& root, double default_theta, ModelSpec& spec) {
  refuse_partial(root);
  const char* const key = root.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  const Json dictionaries =
      merged(root, dictionary(root, "rope_scaling"), dictionary(root, "rope_parameters"));
  if (dictionaries.is_null()) {
    spec.rope_theta = root.real_by_default("rope_theta", default_theta);
    return;
  }
  HfReader rope = root.inside(dictionaries, key);
  if (rope.has("full_attention") || rope.has("sliding_attention"))
    root.problems().add(
        "a {} for each kind of layer is not computed by this version (which has one for all "
        "layers).",
        key);
  refuse_partial(rope);
  root.must_agree("rope_theta", rope, "rope_theta");
  spec.rope_theta = rope.has("rope_theta") ? rope.real("rope_theta")
                                           : root.real_by_default("rope_theta", default_theta);
  spec.rope_type = read_type(rope);
  refuse_factor_without_type(rope);
  remark_unused(rope, dictionaries, spec);
  read_scaling(root, rope, spec);
  set_limit(root, spec);
}

}  // namespace tetrarch::hf
