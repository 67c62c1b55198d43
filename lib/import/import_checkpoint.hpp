/// Converts a Hugging Face checkpoint to weights.h5.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/dtype.hpp"
#include "base/log.hpp"

namespace tetrarch::hf {

/// Options of the import. Those that are absent follow from the checkpoint: its dtype, its
/// tie_word_embeddings, and the largest of 4, 2, 1 reduction shards that the admission rules allow.
struct ImportOptions {
  std::optional<base::DType> dtype = std::nullopt;
  std::optional<std::int64_t> reduction_shards = std::nullopt;
  std::optional<bool> tied = std::nullopt;  // whether the embedding is also the head
};

/// Writes the weights of the checkpoint in `from_folder` to `out_path`. Needs memory for one unit,
/// and for one whole matrix if the checkpoint stores it transposed. Replaces an existing weights
/// file only when the new one is complete. Logs every default and every choice on which the model
/// depends, one line each.
///
/// Throws Refusal(weights) that names all missing and unexpected tensors, Refusal(usage) if
/// an option is wrong or `out_path` is another kind of file, SystemError(resources).
void import_checkpoint(const std::string& from_folder, const std::string& out_path,
                       const ImportOptions& options, base::Log& log);

}  // namespace tetrarch::hf
