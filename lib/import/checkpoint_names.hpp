/// Explains tensor names of a checkpoint that its model does not have.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "plan/model_spec.hpp"

namespace tetrarch::hf {

/// For names without "model.embed_tokens.weight": says that they begin with another prefix than
/// "model.", or are those of another format, and what to do. Returns "" if neither is the case.
std::string problem_of_prefix(const std::vector<std::string>& names);

/// For `names` that the model `spec` does not have: one or two sentences that give the likely
/// reason and what to do.
std::string advice_on_unexpected(const std::vector<std::string>& names,
                                 const plan::ModelSpec& spec);

}  // namespace tetrarch::hf
