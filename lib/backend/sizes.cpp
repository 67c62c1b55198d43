// SPDX-License-Identifier: Apache-2.0
#include "backend/sizes.hpp"

#include <cstring>

#include <fmt/format.h>

namespace tetrarch::backend {

using base::DType;
using base::InternalError;

void Sizes::bind(const char* operand, const char* name, std::int64_t value) {
  for (int i = 0; i < num_bound_; ++i) {
    const Bound& bound = bound_[static_cast<std::size_t>(i)];
    if (std::strcmp(bound.name, name) != 0) continue;
    if (bound.value != value)
      throw InternalError(fmt::format("{}: {} has {} {}, {} has {}", operation_, operand, value,
                                      name, bound.operand, bound.value));
    return;
  }
  base::expects(num_bound_ < static_cast<int>(bound_.size()), "few names of sizes");
  bound_[static_cast<std::size_t>(num_bound_++)] = {name, operand, value};
}

void Sizes::check(const char* operand, const char* axis, const Size& size, std::int64_t value) {
  if (size.name != nullptr) return bind(operand, size.name, value);
  if (size.value != value)
    throw InternalError(
        fmt::format("{}: {} has {} {}, expected {}", operation_, operand, value, axis, size.value));
}

void Sizes::hold(const char* operand, const Tensor& tensor, DType dtype, Size rows, Size columns) {
  hold(operand, tensor, dtype, std::int64_t{1}, rows, columns);
}

void Sizes::hold(const char* operand, const Tensor& tensor, DType dtype, Size slices, Size rows,
                 Size columns) {
  if (tensor.dtype != dtype)
    throw InternalError(fmt::format("{}: {} is {}, expected {}", operation_, operand,
                                    base::name_of(tensor.dtype), base::name_of(dtype)));
  check(operand, "slices", slices, tensor.slices);
  check(operand, "rows", rows, tensor.rows);
  check(operand, "columns", columns, tensor.columns);
}

DType Sizes::model_dtype(const char* operand, const Tensor& tensor) const {
  if (tensor.dtype != DType::f32 && tensor.dtype != DType::bf16)
    throw InternalError(fmt::format("{}: {} is {}, expected f32 or bf16", operation_, operand,
                                    base::name_of(tensor.dtype)));
  return tensor.dtype;
}

void Sizes::expects(bool holds, const char* what) const {
  if (!holds) throw InternalError(fmt::format("{}: expected {}", operation_, what));
}

}  // namespace tetrarch::backend
