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

/// Bytes of one element.
std::int64_t size_of(DType dtype);
/// The name in files and options: "f32", "bf16", ...
std::string_view name_of(DType dtype);
/// The type named "f32" or "bf16", the two that a model may have. Throws Refusal(usage) for any
/// other name.
DType model_dtype_from(std::string_view name);

/// A bfloat16 number, stored as the upper 16 bits of the f32 of the same value.
struct bf16 {
  std::uint16_t bits = 0;
};

inline float to_float(bf16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

/// Rounds to nearest, ties to even; a NaN becomes a quiet NaN.
inline bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

/// The same for every element. Throws InternalError when the spans differ in size.
void to_bf16(std::span<const float> from, std::span<bf16> to);
void to_float(std::span<const bf16> from, std::span<float> to);

/// The NaN (0x7fc00000) that results hold for the floats of failed sequences. In bf16 it is 0x7fc0.
inline float failed_value() {
  return std::bit_cast<float>(0x7fc00000u);
}

}  // namespace tetrarch::base
