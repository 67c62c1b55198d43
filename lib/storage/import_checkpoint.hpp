/// Hugging Face checkpoint -> weights.h5.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/dtype.hpp"
#include "base/log.hpp"

namespace tetrarch::storage {

/// `dtype` and `reduction_shards` default to the checkpoint's own and to the largest of 4, 2, 1
/// that the rules allow. Memory: one unit and, where it is transposed, one expert's matrix. An
/// existing file is replaced only once the new one is complete. Throws UsageError(weights) with
/// every missing and unexpected tensor at once, SystemError(resources).
void import_checkpoint(const std::string& from_folder, const std::string& out_path,
                       std::optional<base::DType> dtype,
                       std::optional<std::int64_t> reduction_shards, base::Log& log);

}  // namespace tetrarch::storage
