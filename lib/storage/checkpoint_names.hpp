/// What the names of a checkpoint's tensors tell, where they are not those of its model.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "plan/model_spec.hpp"

namespace tetrarch::storage {

/// A problem, where names begin with another prefix than "model." or are another format's; else "".
std::string problem_of_prefix(const std::vector<std::string>& names);

/// A sentence on why names have no place in the model, and what to do.
std::string advice_on_unexpected(const std::vector<std::string>& names,
                                 const plan::ModelSpec& spec);

}  // namespace tetrarch::storage
