/// Named sizes of one operation: bound by the first operand that has them, and held against all
/// others.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "backend/tensor.hpp"

namespace tetrarch::backend {

/// A size of an operand: a name, which the first operand binds, or a number.
struct Size {
  Size(const char* the_name) : name(the_name) {}
  Size(std::int64_t the_value) : value(the_value) {}
  const char* name = nullptr;
  std::int64_t value = 0;
};

class Sizes {
 public:
  /// `operation` and all names must be string literals.
  explicit Sizes(const char* operation) : operation_(operation) {}

  /// Holds a number against a name. Throws InternalError when they differ.
  void bind(const char* operand, const char* name, std::int64_t value);
  /// Holds a tensor [rows, columns] of one slice against its description.
  void hold(const char* operand, const Tensor& tensor, base::DType dtype, Size rows, Size columns);
  /// Holds a tensor [slices][rows][columns] against its description.
  void hold(const char* operand, const Tensor& tensor, base::DType dtype, Size slices, Size rows,
            Size columns);
  /// The model dtype of a tensor. Throws InternalError when it is neither f32 nor bf16.
  base::DType model_dtype(const char* operand, const Tensor& tensor) const;
  /// Throws InternalError with `what` unless `holds`.
  void expects(bool holds, const char* what) const;

 private:
  struct Bound {
    const char *name, *operand;
    std::int64_t value;
  };
  void check(const char* operand, const char* axis, const Size& size, std::int64_t value);

  const char* operation_;
  std::array<Bound, 8> bound_ = {};
  int num_bound_ = 0;
};

}  // namespace tetrarch::backend
