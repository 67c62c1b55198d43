/// Element types of tensors and files, and the conversions between f32 and bf16.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tetrarch::base {

enum class DType { f32, bf16, i32, u32, u16, u8, u64, f64 };

std::int64_t size_of(DType dtype);
std::string_view name_of(DType dtype);
/// "f32" or "bf16", the two that a model may have; throws UsageError(usage) otherwise.
DType model_dtype_from(std::string_view name);

/// bfloat16 as its bits, the upper half of an f32.
struct bf16 {
  std::uint16_t bits = 0;
};

inline float to_float(bf16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

/// Rounds to nearest, ties to even; a NaN stays a (quiet) NaN.
inline bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

void to_bf16(std::span<const float> from, std::span<bf16> to);
void to_float(std::span<const bf16> from, std::span<float> to);

/// The NaN of failed sequences in results: 0x7fc00000, and its upper half in bf16.
inline float failed_value() {
  return std::bit_cast<float>(0x7fc00000u);
}

}  // namespace tetrarch::base
