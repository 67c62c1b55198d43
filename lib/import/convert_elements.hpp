/// Converts checkpoint elements to the types and the order of weights.h5.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.hpp"
#include "import/safetensors.hpp"

namespace tetrarch::hf {

/// Converts elements to `to_dtype` (f32 or bf16). Conversion to bf16 rounds to nearest, ties to
/// even; conversion to f32 is exact. `from` and `to` hold the same number of elements.
void convert_elements(CheckpointDType from_dtype, std::span<const std::byte> from,
                      base::DType to_dtype, std::span<std::byte> to);

/// Transposes: to[row][column] = from[column][first_row + row] for every row and column of `to`.
///
/// from  [columns, from_rows] elements of `element_bytes` (2 or 4) bytes
/// to    [rows, columns] elements of the same size; first_row + rows <= from_rows
void transpose_rows(std::int64_t element_bytes, std::span<const std::byte> from,
                    std::int64_t from_rows, std::int64_t first_row, std::int64_t rows,
                    std::int64_t columns, std::span<std::byte> to);

}  // namespace tetrarch::hf
