/// Cosines and sines of rotary position embedding.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/weights.hpp"

namespace tetrarch::model {

/// Radians a position, per pair of elements, [dim / 2]. With f_j = theta^(-2j / dim):
///   default  f_j
///   linear   f_j / factor
///   llama3   f_j where a wave is shorter than orig_max / high_freq_factor, f_j / factor where it
///            is longer than orig_max / low_freq_factor, between them a mix of both
///   yarn     f_j below the pair that turns beta_fast times in orig_max positions, f_j / factor
///            above the one that turns beta_slow times, between them a mix of both
/// As in transformers' modeling_rope_utils.
std::vector<float> rope_frequencies(const plan::ModelSpec& spec);
/// What yarn multiplies cosine and sine by; 1 for the other types.
float rope_attention_factor(const plan::ModelSpec& spec);

/// angle[p][j] = f32(p) * frequency[j]; cosine and sine of it in f32, times the attention factor.
struct RopeTable {
  Vector cosine, sine;  // [num_positions, dim / 2] f32
};
RopeTable make_rope_table(const plan::ModelSpec& spec, std::int64_t num_positions,
                          backend::Backend& backend);

}  // namespace tetrarch::model
