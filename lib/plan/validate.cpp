// Checks the bounds and the consistency of a ModelSpec, and the rules on reduction shards.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/ranges.h>

#include "plan/model_spec.hpp"
#include "plan/problems.hpp"

namespace tetrarch::plan {

using base::ExitCode;

namespace {

constexpr std::int64_t max_size = std::int64_t{1} << 31;
constexpr std::int64_t max_layers = 4096;
constexpr std::int64_t max_experts = 1024;
constexpr std::int64_t max_top_k = 64;
constexpr double max_parameters = 0x1p57;  // so that bytes and FLOPs of a token stay below 2^63

void check_size(Problems& problems, const char* name, std::int64_t value, std::int64_t largest) {
  if (value < 1 || value > largest)
    problems.add("{} = {} is out of range (1 to {}).", name, value, largest);
}

void check_positive(Problems& problems, const char* name, double value, double smallest,
                    double largest) {
  if (!(value >= smallest && value <= largest))
    problems.add("{} = {} is out of range ({} to {}).", name, value, smallest, largest);
}

void check_sizes(Problems& problems, const ModelSpec& spec) {
  check_size(problems, "vocab_size", spec.vocab_size, max_size);
  check_size(problems, "num_layers", spec.num_layers, max_layers);
  check_size(problems, "hidden_size", spec.hidden_size, max_size);
  check_size(problems, "max_position", spec.max_position, max_size);
  check_size(problems, "attention.num_heads", spec.num_heads, max_size);
  check_size(problems, "attention.num_kv_heads", spec.num_kv_heads, max_size);
  check_size(problems, "attention.head_dim", spec.head_size, max_size);
  check_size(problems, "moe.num_experts", spec.num_experts, max_experts);
  check_size(problems, "moe.top_k", spec.top_k, max_top_k);
  check_size(problems, "moe.expert_ffn", spec.expert_ffn, max_size);
  if (spec.has_dense_layers()) check_size(problems, "moe.dense_ffn", spec.dense_ffn, max_size);
  check_positive(problems, "norm.eps", spec.norm_eps, 1e-30, 1);
  check_positive(problems, "attention.scale", spec.attention_scale, 1e-30, 1e30);
  check_positive(problems, "rope.theta", spec.rope_theta, 1, 1e30);
  check_positive(problems, "moe.router.scale", spec.router_scale, 1e-30, 1e30);
}

/// To be called only when all sizes are in range, because it divides by them and multiplies them.
void check_consistency(Problems& problems, const ModelSpec& spec) {
  if (spec.num_heads % spec.num_kv_heads != 0)
    problems.add(
        "attention.num_heads = {} is not a multiple of num_kv_heads = {} (each kv head serves the "
        "same number of heads).",
        spec.num_heads, spec.num_kv_heads);
  if (spec.num_heads * spec.head_size > max_size)
    problems.add("attention.num_heads = {} times head_dim = {} is out of range (1 to {}).",
                 spec.num_heads, spec.head_size, max_size);
  if (spec.rope_dim < 2 || spec.rope_dim % 2 != 0 || spec.rope_dim > spec.head_size)
    problems.add(
        "rope.dim = {} is not an even number from 2 to head_dim = {} (elements rotate "
        "in pairs).",
        spec.rope_dim, spec.head_size);
  if (spec.top_k > spec.num_experts)
    problems.add(
        "moe.top_k = {} exceeds moe.num_experts = {} (in a config.json of Hugging Face: "
        "num_experts_per_tok, and num_local_experts or num_experts).",
        spec.top_k, spec.num_experts);
  const double matrix = static_cast<double>(spec.hidden_size);
  const double layer = 3.0 * static_cast<double>(spec.num_experts * spec.expert_ffn) +
                       3.0 * static_cast<double>(spec.dense_ffn) +
                       4.0 * static_cast<double>(spec.num_heads * spec.head_size) +
                       static_cast<double>(spec.num_experts) + 2.0;
  const double parameters = matrix * (layer * static_cast<double>(spec.num_layers) +
                                      2.0 * static_cast<double>(spec.vocab_size) + 1.0);
  if (parameters > max_parameters)
    problems.add("about {:.3g} parameters are too many (at most {:.3g}).", parameters,
                 max_parameters);
}

void check_layers(Problems& problems, const ModelSpec& spec) {
  const auto layers = static_cast<std::size_t>(spec.num_layers);
  if (spec.window.size() != layers)
    problems.add("attention.window has {} entries (expected num_layers = {}).", spec.window.size(),
                 layers);
  for (const std::int64_t window : spec.window) {
    if (window >= 0 && window <= max_size) continue;
    problems.add("attention.window has {} (expected 0 to {}; 0 is full attention).", window,
                 max_size);
    break;
  }
  if (spec.is_moe.size() != layers)
    problems.add("moe.is_moe has {} entries (expected num_layers = {}).", spec.is_moe.size(),
                 layers);
  if (!spec.has_dense_layers() && spec.dense_ffn != 0)
    problems.add("moe.dense_ffn = {}, but no layer is dense (moe.is_moe). Use 0.", spec.dense_ffn);
}

void check_rope_scaling(Problems& problems, const ModelSpec& spec) {
  const RopeScaling& scaling = spec.rope_scaling;
  const bool is_yarn = spec.rope_type == RopeType::yarn;
  if (spec.rope_type == RopeType::standard) return;
  check_positive(problems, "rope.factor", scaling.factor, 1e-6, 1e6);
  if (spec.rope_type == RopeType::linear) return;
  check_size(problems, "rope.orig_max", scaling.orig_max, max_size);
  const double low = is_yarn ? scaling.beta_slow : scaling.low_freq_factor;
  const double high = is_yarn ? scaling.beta_fast : scaling.high_freq_factor;
  const char* low_name = is_yarn ? "rope.beta_slow" : "rope.low_freq_factor";
  const char* high_name = is_yarn ? "rope.beta_fast" : "rope.high_freq_factor";
  check_positive(problems, low_name, low, 1e-6, 1e6);
  check_positive(problems, high_name, high, 1e-6, 1e6);
  if (!(low < high)) problems.add("{} = {} is not below {} = {}.", low_name, low, high_name, high);
  if (!is_yarn) return;
  if (!(spec.rope_theta > 1))
    problems.add(
        "rope.theta = {} is too small for yarn (its frequencies would all be equal). Use a number "
        "above 1.",
        spec.rope_theta);
  check_positive(problems, "rope.attention_factor", scaling.attention_factor, 0, 1e6);
  check_positive(problems, "rope.mscale", scaling.mscale, 0, 1e6);
  check_positive(problems, "rope.mscale_all_dim", scaling.mscale_all_dim, 0, 1e6);
}

bool is_family(const std::string& name) {
  const auto is_fine = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), is_fine);
}

std::vector<std::string> broken_shard_rules(const ModelSpec& spec, std::int64_t shards) {
  std::vector<std::string> broken;
  const auto must_divide = [&](const char* name, std::int64_t size) {
    if (size % shards != 0) broken.push_back(fmt::format("does not divide {} = {}", name, size));
  };
  must_divide("num_heads", spec.num_heads);
  must_divide("expert_ffn", spec.expert_ffn);
  must_divide("dense_ffn", spec.dense_ffn);  // 0 where no layer is dense
  if (spec.num_kv_heads % shards != 0 && shards % spec.num_kv_heads != 0)
    broken.push_back(
        fmt::format("neither divides num_kv_heads = {} nor is divided by it", spec.num_kv_heads));
  if (spec.vocab_size < shards)
    broken.push_back(fmt::format("exceeds vocab_size = {}", spec.vocab_size));
  return broken;
}

constexpr std::array<std::int64_t, 4> possible_shards = {1, 2, 4, 8};

}  // namespace

void validate(const ModelSpec& spec, const std::string& where) {
  Problems problems;
  if (!is_family(spec.family))
    problems.add(
        "family is not a name of 1 to 64 characters (lower-case letters, digits, '-', '_' or "
        "'.').");
  check_sizes(problems, spec);
  if (problems.empty()) check_consistency(problems, spec);
  check_layers(problems, spec);
  check_rope_scaling(problems, spec);
  problems.refuse(ExitCode::weights, where);
}

std::int64_t default_reduction_shards(const ModelSpec& spec) {
  for (const std::int64_t shards : {4, 2})
    if (broken_shard_rules(spec, shards).empty()) return shards;
  return 1;
}

void check_reduction_shards(const ModelSpec& spec, std::int64_t reduction_shards, ExitCode code) {
  std::vector<std::string> broken;
  if (std::find(possible_shards.begin(), possible_shards.end(), reduction_shards) ==
      possible_shards.end()) {
    broken.push_back("is none of 1, 2, 4, 8");
  } else {
    broken = broken_shard_rules(spec, reduction_shards);
  }
  if (broken.empty()) return;
  std::vector<std::int64_t> usable;
  for (const std::int64_t shards : possible_shards)
    if (broken_shard_rules(spec, shards).empty()) usable.push_back(shards);
  throw base::Refusal(
      code, fmt::format("reduction_shards = {} {} (each slice has whole heads and the same number "
                        "of FFN columns). Use {}.",
                        reduction_shards, fmt::join(broken, " and "), fmt::join(usable, " or ")));
}

}  // namespace tetrarch::plan
