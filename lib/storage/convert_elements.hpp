/// Checkpoint elements in the types and the order of weights.h5.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.hpp"
#include "storage/safetensors.hpp"

namespace tetrarch::storage {

/// Elements in another type: bf16 rounds to nearest even, widening is exact. `to` holds as many
/// elements of `to_dtype` (f32 or bf16) as `from` has of its own.
void convert_elements(CheckpointDType from_dtype, std::span<const std::byte> from,
                      base::DType to_dtype, std::span<std::byte> to);

/// to[row][column] = from[column][first_row + row], for all of `to`.
///
/// from  [columns, from_rows] elements of `element_bytes` (2 or 4)
/// to    [rows, columns]
void transpose_rows(std::int64_t element_bytes, std::span<const std::byte> from,
                    std::int64_t from_rows, std::int64_t first_row, std::int64_t rows,
                    std::int64_t columns, std::span<std::byte> to);

}  // namespace tetrarch::storage
