/// Whether the head of a checkpoint is its embedding.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "storage/checkpoint.hpp"

namespace tetrarch::storage {

/// `config_says` is tie_word_embeddings, `asked` the user's word, which counts more. Config and
/// file must agree unless he says which one to follow: a tied checkpoint has no lm_head.weight or
/// one that equals the embedding, another has one. Adds to `remarks` what was decided. Throws
/// UsageError(weights).
bool is_head_tied(const Checkpoint& checkpoint, bool config_says, std::optional<bool> asked,
                  std::vector<std::string>& remarks);

}  // namespace tetrarch::storage
