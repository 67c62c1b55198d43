// SPDX-License-Identifier: Apache-2.0
#include "base/shape.hpp"

#include <fmt/ranges.h>

#include "base/error.hpp"

namespace tetrarch::base {
namespace {

[[noreturn]] void too_large() {
  throw Refusal(ExitCode::input,
                "a size overflows 63 bits (the shapes in the file cannot be right). "
                "Check or make the file again.");
}

}  // namespace

std::int64_t checked_mul(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) too_large();
  return product;
}

std::int64_t checked_add(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &sum)) too_large();
  return sum;
}

std::int64_t checked_elements(std::span<const std::int64_t> shape) {
  std::int64_t product = 1;
  for (std::int64_t extent : shape)
    product = checked_mul(product, extent);
  return product;
}

std::string to_string(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace tetrarch::base
