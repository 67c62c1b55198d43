/// Hugging Face checkpoint -> weights.h5.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/dtype.hpp"
#include "base/log.hpp"
#include "storage/safetensors.hpp"

namespace tetrarch::storage {

/// Elements in another type: bf16 rounds to nearest even, widening is exact. `to` holds as many
/// elements of `to_dtype` (f32 or bf16) as `from` has of its own.
void convert_elements(CheckpointDType from_dtype, std::span<const std::byte> from,
                      base::DType to_dtype, std::span<std::byte> to);

/// `dtype` and `reduction_shards` default to the checkpoint's own and to the largest of 4, 2, 1
/// that the rules allow. Memory: one unit and, where it is transposed, one expert's matrix. An
/// existing file is replaced only once the new one is complete. Throws UsageError(weights) with
/// every missing and unexpected tensor at once, SystemError(resources).
void import_checkpoint(const std::string& from_folder, const std::string& out_path,
                       std::optional<base::DType> dtype,
                       std::optional<std::int64_t> reduction_shards, base::Log& log);

}  // namespace tetrarch::storage
