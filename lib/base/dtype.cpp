// SPDX-License-Identifier: Apache-2.0
#include "base/dtype.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace tetrarch::base {

std::int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::i32:
      return 4;
    case DType::u32:
      return 4;
    case DType::u16:
      return 2;
    case DType::u8:
      return 1;
    case DType::u64:
      return 8;
    case DType::f64:
      return 8;
  }
  return 0;
}

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::u32:
      return "u32";
    case DType::u16:
      return "u16";
    case DType::u8:
      return "u8";
    case DType::u64:
      return "u64";
    case DType::f64:
      return "f64";
  }
  return "?";
}

DType model_dtype_from(std::string_view name) {
  if (name == "f32") return DType::f32;
  if (name == "bf16") return DType::bf16;
  throw Refusal(ExitCode::usage,
                fmt::format("dtype \"{}\" is not supported for a model. Use f32 or bf16.", name));
}

void to_bf16(std::span<const float> from, std::span<bf16> to) {
  expects(from.size() == to.size(), "equally many elements");
  for (std::size_t i = 0; i < from.size(); ++i)
    to[i] = to_bf16(from[i]);
}

void to_float(std::span<const bf16> from, std::span<float> to) {
  expects(from.size() == to.size(), "equally many elements");
  for (std::size_t i = 0; i < from.size(); ++i)
    to[i] = to_float(from[i]);
}

}  // namespace tetrarch::base
