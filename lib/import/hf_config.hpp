/// Translates the config.json of a Hugging Face checkpoint into a ModelSpec, and names the tensors
/// of the checkpoint that each tensor of weights.h5 is made of.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/json_fwd.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::hf {

/// The model that `config` describes. Reads model_type mixtral and qwen3_moe, with the keys of
/// older and newer transformers (rope_theta and rope_scaling, or rope_parameters; torch_dtype or
/// dtype). An absent or null key means the default of transformers' class; but
/// num_key_value_heads = null means num_attention_heads, and sliding_window = null no window.
/// `where` names the file in messages. `remarks` gets one sentence for each default that the model
/// depends on, and for each choice between values.
/// Throws Refusal(weights), with every problem in one message, for what this version does not
/// compute (another model_type, other types of RoPE, biases, hidden_act other than silu and gelu),
/// and for keys that contradict each other.
plan::ModelSpec from_hugging_face(const base::Json& config, const std::string& where,
                                  std::vector<std::string>* remarks = nullptr);
/// The dtype that the config names ("bfloat16"), or "" when it names none.
std::string dtype_in(const base::Json& config);

/// How one tensor of weights.h5 is assembled from pieces, the tensors of the checkpoint. Pieces are
/// in the order of the leading (expert) axis; a tensor without experts has one piece.
struct TensorSource {
  std::string path;  // in weights.h5: "/layers/00/gate"
  // for each piece the names it may have; the first name that the checkpoint has is taken
  std::vector<std::vector<std::string>> pieces;
  bool is_transposed = false;  // the checkpoint stores it as [columns, rows] (o, down)
  // Names of one tensor [experts, ...] that may replace all pieces (checkpoints of transformers 5).
  // For each expert it holds `fused_parts` matrices one below the other; number `fused_part` (from
  // 0) is this tensor's.
  std::vector<std::string> fused;
  std::int64_t fused_part = 0, fused_parts = 1;
};
/// One entry for each tensor of tensors_of(spec), in the same order.
std::vector<TensorSource> tensor_sources(const plan::ModelSpec& spec);

}  // namespace tetrarch::hf
