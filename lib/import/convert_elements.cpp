// Converts element types value by value; transposes in tiles.
// SPDX-License-Identifier: Apache-2.0
#include "import/convert_elements.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.hpp"

namespace tetrarch::hf {
namespace {

constexpr std::int64_t tile = 64;  // elements per side; a tile of f32 is 16 KiB and fits the cache

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu, fraction = half & 0x3ffu;
  if (exponent == 0) {  // zero and subnormal: fraction * 2^-24, exact
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
  }
  const std::uint32_t wide = exponent == 31 ? 0xffu : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}

template <class T>
T load(const std::byte* from, std::size_t i) {
  T value;
  std::memcpy(&value, from + i * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void store(std::byte* to, std::size_t i, T value) {
  std::memcpy(to + i * sizeof(T), &value, sizeof(T));
}

template <class Load>
void convert_with(Load&& element, std::size_t count, base::DType to_dtype, std::byte* to) {
  if (to_dtype == base::DType::f32)
    for (std::size_t i = 0; i < count; ++i)
      store<float>(to, i, element(i));
  else
    for (std::size_t i = 0; i < count; ++i)
      store<std::uint16_t>(to, i, base::to_bf16(element(i)).bits);
}

bool is_same(CheckpointDType from, base::DType to) {
  return (from == CheckpointDType::f32 && to == base::DType::f32) ||
         (from == CheckpointDType::bf16 && to == base::DType::bf16);
}

template <class T>
void transpose_tiles(const std::byte* from, std::int64_t from_rows, std::int64_t begin,
                     std::int64_t rows, std::int64_t columns, std::byte* to) {
  for (std::int64_t r0 = 0; r0 < rows; r0 += tile)
    for (std::int64_t c0 = 0; c0 < columns; c0 += tile)
      for (std::int64_t r = r0; r < std::min(r0 + tile, rows); ++r)
        for (std::int64_t c = c0; c < std::min(c0 + tile, columns); ++c)
          store<T>(to, static_cast<std::size_t>(r * columns + c),
                   load<T>(from, static_cast<std::size_t>(c * from_rows + begin + r)));
}

}  // namespace

void convert_elements(CheckpointDType from_dtype, std::span<const std::byte> from,
                      base::DType to_dtype, std::span<std::byte> to) {
  const std::size_t count = from.size() / static_cast<std::size_t>(size_of(from_dtype));
  base::expects(to.size() == count * static_cast<std::size_t>(base::size_of(to_dtype)),
                "as many elements as are given");
  const std::byte* at = from.data();
  if (is_same(from_dtype, to_dtype)) {
    std::copy(from.begin(), from.end(), to.begin());
  } else if (from_dtype == CheckpointDType::f32) {
    convert_with([at](std::size_t i) { return load<float>(at, i); }, count, to_dtype, to.data());
  } else if (from_dtype == CheckpointDType::bf16) {
    convert_with([at](std::size_t i) { return base::to_float(load<base::bf16>(at, i)); }, count,
                 to_dtype, to.data());
  } else {
    convert_with([at](std::size_t i) { return half_to_float(load<std::uint16_t>(at, i)); }, count,
                 to_dtype, to.data());
  }
}

void transpose_rows(std::int64_t element_bytes, std::span<const std::byte> from,
                    std::int64_t from_rows, std::int64_t first_row, std::int64_t rows,
                    std::int64_t columns, std::span<std::byte> to) {
  base::expects(static_cast<std::int64_t>(from.size()) == columns * from_rows * element_bytes &&
                    static_cast<std::int64_t>(to.size()) == rows * columns * element_bytes &&
                    first_row + rows <= from_rows,
                "rows inside a whole matrix");
  if (element_bytes == 4)
    transpose_tiles<std::uint32_t>(from.data(), from_rows, first_row, rows, columns, to.data());
  else
    transpose_tiles<std::uint16_t>(from.data(), from_rows, first_row, rows, columns, to.data());
}

}  // namespace tetrarch::hf
