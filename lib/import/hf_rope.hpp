/// Reads the RoPE keys of Hugging Face's config.json, in the spelling of older and newer files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "import/hf_reader.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::hf {

/// Sets rope_theta, rope_type and rope_scaling of `spec`. spec.max_position must hold
/// max_position_embeddings; with YaRN it becomes factor x original_max_position_embeddings when
/// that is larger.
/// Adds a problem for what is not computed (another type, parameters that differ between kinds of
/// layers, partial rotation), and for values that are given twice and differ.
void read_hugging_face_rope(HfReader& root, double default_theta, plan::ModelSpec& spec);

}  // namespace tetrarch::hf
