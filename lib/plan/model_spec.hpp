/// The description of a model: the config_json of weights.h5 as a checked value.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.hpp"
#include "base/error.hpp"

namespace tetrarch::plan {

enum class ExpertKind { glu, mlp };  // glu: down(act(gate x) * up x); mlp: down(act(up x))
enum class Activation { silu, gelu_tanh, gelu };  // gelu: the exact formula, with erf
enum class RouterScore { softmax_all };           // softmax over the logits of all experts
enum class RouterRenorm { none, sum };  // sum: chosen gate weights are divided by their sum
enum class RopeType { standard, linear, llama3, yarn };  // standard: "default" in config_json
enum class QkNorm { none, per_head };  // per_head: a norm of each query and key head before RoPE

/// Parameters by which a RoPE type other than the default scales the frequencies. Each type uses
/// the fields that name it; the others keep their defaults. Exact formulas: model/rope_table.hpp.
struct RopeScaling {
  double factor = 1;          // all types
  std::int64_t orig_max = 0;  // llama3, yarn: positions that the model was first trained for
  double low_freq_factor = 1, high_freq_factor = 1;  // llama3: bounds on orig_max / wavelength
  double beta_fast = 32, beta_slow = 1;              // yarn: bounds on turns in orig_max positions
  bool truncate = true;                              // yarn: round the bounds to whole dimensions
  double attention_factor = 0;  // yarn: multiplies cosine and sine; 0: from factor and mscale
  double mscale = 0, mscale_all_dim = 0;  // yarn; 0: not given

  bool operator==(const RopeScaling&) const = default;
};

/// Fields have the names and meanings of the keys of config_json. Sizes are in elements.
struct ModelSpec {
  std::string family = "tetrarch";
  base::DType dtype = base::DType::bf16;
  std::int64_t vocab_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t hidden_size = 0;
  std::int64_t max_position = 0;
  bool tied_embeddings = false;

  double norm_eps = 1e-5;

  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_size = 0;
  double attention_scale = 0;
  std::vector<std::int64_t> window;  // per layer; 0: full attention; W: keys j with i - W < j <= i
  QkNorm qk_norm = QkNorm::none;     // uses norm_eps

  double rope_theta = 10000;
  std::int64_t rope_dim = 0;
  RopeType rope_type = RopeType::standard;
  RopeScaling rope_scaling;

  std::vector<bool> is_moe;  // per layer; false: one dense FFN of the experts' kind and activation
  std::int64_t num_experts = 0;
  std::int64_t top_k = 0;
  std::int64_t expert_ffn = 0;
  std::int64_t dense_ffn = 0;  // 0 where no layer is dense
  RouterScore router_score = RouterScore::softmax_all;
  RouterRenorm router_renorm = RouterRenorm::sum;
  double router_scale = 1.0;
  ExpertKind expert_kind = ExpertKind::glu;
  Activation activation = Activation::silu;

  bool has_dense_layers() const;
  std::int64_t num_parameters() const;
  bool operator==(const ModelSpec&) const = default;
};

/// Sets the fields that have a usual value for given sizes: attention_scale = head_size^-0.5,
/// rope_dim = head_size, full attention and experts in every layer.
void set_derived(ModelSpec& spec);

/// Parses and validates config_json. `where` names the file in messages. Throws Refusal(weights)
/// with all unknown keys and all features that this version does not compute in one message.
ModelSpec parse_model_spec(const std::string& config_json, const std::string& where);
/// The config_json of a spec: parse_model_spec(to_config_json(s)) == s. The order of keys is fixed.
std::string to_config_json(const ModelSpec& spec);
/// Checks that sizes are positive, within bounds (so that bytes and FLOPs fit in 63 bits) and
/// consistent: heads a multiple of kv heads, rope_dim even, top_k <= num_experts <= 1024,
/// top_k <= 64 and others. Throws Refusal(weights) with every problem in one message.
void validate(const ModelSpec& spec, const std::string& where);

/// The preset with this name: "tiny", "tetrarch-64-mini", "tetrarch-64", "mixtral-8x7b" or
/// "qwen3-30b-a3b". Throws Refusal(usage); the message names the nearest and all presets.
ModelSpec preset(const std::string& name);
std::vector<std::string> preset_names();

/// The default number V of reduction shards: the largest of 4, 2, 1 that the rules below allow.
std::int64_t default_reduction_shards(const ModelSpec& spec);
/// Checks V: it is 1, 2, 4 or 8; it divides num_heads and every FFN width; it divides num_kv_heads
/// or is a multiple of it; it is at most vocab_size. Throws Refusal(`code`); the message names
/// the broken rules and the values of V that work.
void check_reduction_shards(const ModelSpec& spec, std::int64_t reduction_shards,
                            base::ExitCode code);

}  // namespace tetrarch::plan
