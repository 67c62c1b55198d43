/// Arithmetic on sizes that come from files: it refuses to overflow.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tetrarch::base {

using Shape = std::vector<std::int64_t>;

/// Throws UsageError(input) when the result does not fit in 63 bits or a factor is negative.
std::int64_t checked_mul(std::int64_t a, std::int64_t b);
std::int64_t checked_add(std::int64_t a, std::int64_t b);
/// The number of elements of a shape; 1 for a scalar.
std::int64_t checked_elements(std::span<const std::int64_t> shape);

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
inline std::int64_t round_up(std::int64_t a, std::int64_t b) {
  return ceil_div(a, b) * b;
}

/// "[16, 32, 64]"
std::string to_string(std::span<const std::int64_t> shape);

}  // namespace tetrarch::base
