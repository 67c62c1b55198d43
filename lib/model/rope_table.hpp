/// Tables of cosines and sines for rotary position embedding.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/weights.hpp"

namespace tetrarch::model {

/// The rotation frequency of each pair of elements, [dim / 2], in radians per position. With f_j =
/// theta^(-2j / dim):
///  default  f_j
///  linear   f_j / factor
///  llama3   f_j for wavelengths below orig_max / high_freq_factor; f_j / factor for wavelengths
///           above orig_max / low_freq_factor; a mix of both in between
///  yarn     f_j below the pair that makes beta_fast rotations in orig_max positions; f_j / factor
///           above the pair that makes beta_slow rotations; a mix of both in between
/// As in modeling_rope_utils.py of Hugging Face transformers.
std::vector<float> rope_frequencies(const plan::ModelSpec& spec);
/// yarn's factor of cosine and sine; 1 for the other types.
float rope_attention_factor(const plan::ModelSpec& spec);

/// angle[p][j] = f32(p) * frequency[j]. The tables hold its cosine and sine, rounded to f32, times
/// the attention factor.
struct RopeTable {
  OwnedTensor cosine, sine;  // [num_positions, dim / 2] f32
};
RopeTable make_rope_table(const plan::ModelSpec& spec, std::int64_t num_positions,
                          backend::Backend& backend);

}  // namespace tetrarch::model
