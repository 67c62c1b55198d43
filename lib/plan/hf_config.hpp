/// Hugging Face's config.json, translated into a ModelSpec.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/json_fwd.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::plan {

/// Reads mixtral and qwen3_moe, in both generations of spelling (rope_theta and rope_scaling or
/// rope_parameters, torch_dtype or dtype; absent and null keys mean the class default). What this
/// version does not compute (another model_type, other types of RoPE, biases, hidden_act other than
/// silu/gelu), and keys that contradict each other, are refused by name. `remarks` gets a sentence
/// for each default that the model depends on, and for what was chosen. Throws UsageError(weights).
ModelSpec from_hugging_face(const base::Json& config, const std::string& where,
                            std::vector<std::string>* remarks = nullptr);
/// The type of the tensors as the config says it ("bfloat16"), "" where it does not.
std::string dtype_in(const base::Json& config);

/// How one tensor of ours is assembled from the checkpoint: the names of its pieces, in the order
/// of its leading (expert) axis; one piece for a tensor without experts.
struct TensorSource {
  std::string path;  // ours, "/layers/00/gate"
  // per piece: accepted spellings, the first found is it
  std::vector<std::vector<std::string>> pieces;
  bool is_transposed = false;  // the checkpoint has [columns, rows] of ours (o, down)
  // Names of one tensor [experts, ...] that may stand for all pieces (files of transformers 5).
  // It holds `fused_parts` matrices of an expert one below the other; ours is number `fused_part`.
  std::vector<std::string> fused;
  std::int64_t fused_part = 0, fused_parts = 1;
};
/// For every tensor of tensors_of(spec), in the same order.
std::vector<TensorSource> tensor_sources(const ModelSpec& spec);

}  // namespace tetrarch::plan
