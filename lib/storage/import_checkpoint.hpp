/// Hugging Face checkpoint -> weights.h5.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/dtype.hpp"
#include "base/log.hpp"

namespace tetrarch::storage {

/// What is not asked for follows from the checkpoint: its dtype, tie_word_embeddings, and the
/// largest number of reduction shards of 4, 2, 1 that the rules allow.
struct ImportOptions {
  std::optional<base::DType> dtype = std::nullopt;
  std::optional<std::int64_t> reduction_shards = std::nullopt;
  std::optional<bool> tied = std::nullopt;  // whether the embedding is the head
};

/// Memory: one unit and, where it is transposed, one expert's matrix. An existing file is replaced
/// only once the new one is complete. Says every default and every choice that the model depends
/// on, a line each. Throws UsageError(weights) with every missing and unexpected tensor at once,
/// SystemError(resources).
void import_checkpoint(const std::string& from_folder, const std::string& out_path,
                       const ImportOptions& options, base::Log& log);

}  // namespace tetrarch::storage
