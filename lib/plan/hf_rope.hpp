/// RoPE as Hugging Face's config.json spells it, in both generations.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/json_reader.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::plan {

/// Reads rope_theta and the type with its parameters into `spec`, whose max_position is known.
/// What is not computed (another type, parameters by kind of layer, partial rotation) becomes a
/// problem.
void read_hugging_face_rope(JsonReader& root, double default_theta, ModelSpec& spec);

}  // namespace tetrarch::plan
