/// RoPE as Hugging Face's config.json spells it, in both generations.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/hf_reader.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::plan {

/// Reads rope_theta and the type with its parameters into `spec`, whose max_position is known.
/// With YaRN max_position grows to factor x original_max_position_embeddings where that is more.
/// What is not computed (another type, parameters by kind of layer, partial rotation) and what is
/// said twice with different values becomes a problem.
void read_hugging_face_rope(HfReader& root, double default_theta, ModelSpec& spec);

}  // namespace tetrarch::plan
