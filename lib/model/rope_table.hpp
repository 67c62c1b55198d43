/// Cosines and sines of rotary position embedding.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/weights.hpp"

namespace tetrarch::model {

/// angle[p][j] = f32(p) * theta^(-2j / dim), cosine and sine of it in f32.
struct RopeTable {
  Vector cosine, sine;  // [num_positions, dim / 2] f32
};
RopeTable make_rope_table(const plan::ModelSpec& spec, std::int64_t num_positions,
                          backend::Backend& backend);

}  // namespace tetrarch::model
