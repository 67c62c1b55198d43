/// Arithmetic on sizes that come from files: it throws instead of overflowing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tetrarch::base {

using Shape = std::vector<std::int64_t>;

/// The product or sum. Throws Refusal(input) when it does not fit in 63 bits or when an operand
/// is negative.
std::int64_t checked_mul(std::int64_t a, std::int64_t b);
std::int64_t checked_add(std::int64_t a, std::int64_t b);
/// The number of elements of a shape; 1 for a scalar. Throws as checked_mul() does.
std::int64_t checked_elements(std::span<const std::int64_t> shape);

/// a / b, rounded up; a >= 0, b > 0.
inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
/// The smallest multiple of b that is >= a.
inline std::int64_t round_up(std::int64_t a, std::int64_t b) {
  return ceil_div(a, b) * b;
}

/// "[16, 32, 64]"
std::string to_string(std::span<const std::int64_t> shape);

}  // namespace tetrarch::base
