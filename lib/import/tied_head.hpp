/// Decides whether the head of a checkpoint is its embedding.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "import/checkpoint.hpp"

namespace tetrarch::hf {

/// Whether the head is tied to the embedding.
///
/// config_says  tie_word_embeddings of config.json
/// asked        the option --tied; if given, it decides
/// remarks      gets a sentence on each decision
///
/// Without `asked`, config and file must agree: a tied checkpoint has no lm_head.weight, or one
/// that equals the embedding; an untied one has a lm_head.weight. Throws Refusal(weights) if
/// they disagree, or if --tied no asks for a head that the file does not have.
bool is_head_tied(const Checkpoint& checkpoint, bool config_says, std::optional<bool> asked,
                  std::vector<std::string>& remarks);

}  // namespace tetrarch::hf
