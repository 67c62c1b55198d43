/// What config.json says that the model as it was read has no place for.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "plan/hf_reader.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::plan {

/// Quantised weights, biases, shared experts and other features that no computation here has
/// become problems.
void refuse_features(HfReader& root);

/// Keys that do not fit what was read become problems: another class, another name of a size with
/// another value, windows by layer that are not `window` (0: none), keys of the other family.
void refuse_contradictions(HfReader& root, const ModelSpec& spec, std::int64_t window);

}  // namespace tetrarch::plan
