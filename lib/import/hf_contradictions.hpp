/// Refuses keys of config.json that ask for something else than the model that was read from it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "import/hf_reader.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::hf {

/// Adds a problem for each feature that this program does not compute: quantised weights, biases,
/// shared experts and others.
void refuse_features(HfReader& root);

/// Adds a problem for each key that contradicts `spec`: another class in `architectures`; another
/// name of a size with another value; a kind of attention in `layer_types` that does not fit
/// `window` (tokens; 0: no window); keys of the other family.
void refuse_contradictions(HfReader& root, const plan::ModelSpec& spec, std::int64_t window);

}  // namespace tetrarch::hf
