// The presets: models that are known by name.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/ranges.h>

#include "base/text.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::plan {
namespace {

ModelSpec tiny() {
  ModelSpec spec;
  spec.vocab_size = 512;
  spec.num_layers = 4;
  spec.hidden_size = 64;
  spec.max_position = 8192;
  spec.num_heads = 8;
  spec.num_kv_heads = 4;
  spec.head_size = 8;
  spec.num_experts = 16;
  spec.top_k = 2;
  spec.expert_ffn = 32;
  return spec;
}

ModelSpec tetrarch_64() {
  ModelSpec spec;
  spec.vocab_size = 172032;
  spec.num_layers = 16;
  spec.hidden_size = 4096;
  spec.max_position = 32768;
  spec.num_heads = 32;
  spec.num_kv_heads = 32;
  spec.head_size = 128;
  spec.num_experts = 16;
  spec.top_k = 2;
  spec.expert_ffn = 16384;
  spec.expert_kind = ExpertKind::mlp;
  spec.activation = Activation::gelu;
  return spec;
}

ModelSpec tetrarch_64_mini() {
  ModelSpec spec = tetrarch_64();
  spec.vocab_size = 512;
  spec.hidden_size = 128;
  spec.max_position = 8192;
  spec.num_heads = 8;
  spec.num_kv_heads = 8;
  spec.head_size = 16;
  spec.expert_ffn = 512;
  return spec;
}

ModelSpec mixtral_8x7b() {
  ModelSpec spec;
  spec.family = "mixtral";
  spec.vocab_size = 32000;
  spec.num_layers = 32;
  spec.hidden_size = 4096;
  spec.max_position = 32768;
  spec.num_heads = 32;
  spec.num_kv_heads = 8;
  spec.head_size = 128;
  spec.rope_theta = 1e6;
  spec.num_experts = 8;
  spec.top_k = 2;
  spec.expert_ffn = 14336;
  return spec;
}

ModelSpec qwen3_30b_a3b() {
  ModelSpec spec;
  spec.family = "qwen3_moe";
  spec.vocab_size = 151936;
  spec.num_layers = 48;
  spec.hidden_size = 2048;
  spec.max_position = 40960;
  spec.norm_eps = 1e-6;
  spec.num_heads = 32;
  spec.num_kv_heads = 4;
  spec.head_size = 128;
  spec.qk_norm = QkNorm::per_head;
  spec.rope_theta = 1e6;
  spec.num_experts = 128;
  spec.top_k = 8;
  spec.expert_ffn = 768;
  return spec;
}

struct Preset {
  const char* name;
  ModelSpec (*make)();
};
constexpr Preset presets[] = {{"tiny", tiny},
                              {"tetrarch-64-mini", tetrarch_64_mini},
                              {"tetrarch-64", tetrarch_64},
                              {"mixtral-8x7b", mixtral_8x7b},
                              {"qwen3-30b-a3b", qwen3_30b_a3b}};

}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& entry : presets)
    names.emplace_back(entry.name);
  return names;
}

ModelSpec preset(const std::string& name) {
  for (const Preset& entry : presets) {
    if (name != entry.name) continue;
    ModelSpec spec = entry.make();
    set_derived(spec);
    return spec;
  }
  const std::vector<std::string> names = preset_names();
  const std::string near = base::nearest(name, names);
  const std::string hint = near.empty() ? "" : fmt::format("Did you mean {}? ", near);
  throw base::Refusal(base::ExitCode::usage, fmt::format("\"{}\" is not a preset. {}Use one of {}.",
                                                         name, hint, fmt::join(names, ", ")));
}

}  // namespace tetrarch::plan
