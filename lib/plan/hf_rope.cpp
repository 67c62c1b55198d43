// RoPE as Hugging Face's config.json spells it, in both generations.
// SPDX-License-Identifier: Apache-2.0
#include "plan/hf_rope.hpp"

namespace tetrarch::plan {
namespace {

RopeType read_type(JsonReader& rope) {
  constexpr std::pair<std::string_view, RopeType> types[] = {{"default", RopeType::standard},
                                                             {"linear", RopeType::linear},
                                                             {"llama3", RopeType::llama3},
                                                             {"yarn", RopeType::yarn}};
  const std::string key = rope.spelling({"rope_type", "type"});
  const std::string name = rope.text_or(key, "default");
  for (const auto& [known, type] : types)
    if (name == known) return type;
  rope.not_computed(key, JsonReader::shown(name), "default, linear, llama3, yarn");
  return RopeType::standard;
}

/// The dictionary's value, where 0 and null mean what an absent key means.
double real_unless_zero(JsonReader& rope, const char* key, double fallback) {
  const double value = rope.real_or(key, fallback);
  return value == 0 ? fallback : value;
}

void read_yarn(JsonReader& rope, ModelSpec& spec) {
  RopeScaling& scaling = spec.rope_scaling;
  const double stretched = static_cast<double>(spec.max_position);
  const double fallback =
      scaling.orig_max > 0 ? stretched / static_cast<double>(scaling.orig_max) : 0;
  scaling.factor = rope.real_or("factor", fallback);
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

void read_scaling(JsonReader& root, JsonReader& rope, ModelSpec& spec) {
  constexpr const char* orig_key = "original_max_position_embeddings";
  RopeScaling& scaling = spec.rope_scaling;
  if (spec.rope_type == RopeType::linear) scaling.factor = rope.real("factor");
  if (spec.rope_type != RopeType::llama3 && spec.rope_type != RopeType::yarn) return;
  // beside the dictionary it counts more than inside
  scaling.orig_max = root.integer_or(orig_key, rope.integer_or(orig_key, spec.max_position));
  if (spec.rope_type == RopeType::yarn) {
    read_yarn(rope, spec);
    return;
  }
  scaling.factor = rope.real("factor");
  scaling.low_freq_factor = rope.real("low_freq_factor");
  scaling.high_freq_factor = rope.real("high_freq_factor");
}

}  // namespace

// theta stands beside, or (newer files) inside, the dictionary that names the type.
void read_hugging_face_rope(JsonReader& root, double default_theta, ModelSpec& spec) {
  spec.rope_theta = root.real_or("rope_theta", default_theta);
  if (root.real_or("partial_rotary_factor", 1) != 1)
    root.problems().add("partial_rotary_factor is not computed by this version.");
  if (root.has("rope_scaling") && root.has("rope_parameters"))
    root.problems().add(
        "rope_scaling and rope_parameters are both given (each names the type of RoPE). Remove "
        "one.");
  const std::string key = root.spelling({"rope_scaling", "rope_parameters"});
  if (!root.has(key)) return;
  JsonReader rope = root.object(key);
  if (rope.has("full_attention") || rope.has("sliding_attention"))
    root.problems().add(
        "{} by kind of layer is not computed by this version (which has one for all layers).", key);
  if (rope.real_or("partial_rotary_factor", 1) != 1)
    root.problems().add("{}.partial_rotary_factor is not computed by this version.", key);
  spec.rope_theta = rope.real_or("rope_theta", spec.rope_theta);
  spec.rope_type = read_type(rope);
  read_scaling(root, rope, spec);
}

}  // namespace tetrarch::plan
