/// Dense row-major arrays in a backend's memory: Tensor, a view that does not own its memory, and
/// Memory, which owns it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/dtype.hpp"
#include "base/error.hpp"

namespace tetrarch::backend {

/// A view of an array [slices][rows][columns] without gaps. Most tensors have one slice.
struct Tensor {
  void* data = nullptr;
  base::DType dtype = base::DType::f32;
  std::int64_t slices = 1;
  std::int64_t rows = 0;
  std::int64_t columns = 0;

  bool is_absent() const { return data == nullptr; }
  std::int64_t elements() const { return slices * rows * columns; }
  std::int64_t row_bytes() const { return columns * base::size_of(dtype); }
  std::int64_t bytes() const { return slices * rows * row_bytes(); }

  /// Returns one slice, as a tensor of one slice.
  Tensor slice(std::int64_t index) const { return {at(index * rows), dtype, 1, rows, columns}; }
  /// Returns rows [begin, begin + count). The tensor must have one slice.
  Tensor row_range(std::int64_t begin, std::int64_t count) const {
    base::expects(slices == 1 && begin >= 0 && count >= 0 && begin + count <= rows,
                  "a row range inside a tensor of one slice");
    return {at(begin), dtype, 1, count, columns};
  }
  /// The same elements as a tensor of one slice.
  Tensor flat() const { return {data, dtype, 1, slices * rows, columns}; }
  /// A pointer to the elements. The memory must be on the host or accessible from it, and T must
  /// have the size of the dtype.
  template <class T>
  T* as() const {
    base::expects(static_cast<std::int64_t>(sizeof(T)) == base::size_of(dtype), "a matching dtype");
    return static_cast<T*>(data);
  }

 private:
  void* at(std::int64_t row) const { return static_cast<std::byte*>(data) + row * row_bytes(); }
};

/// Owns memory of a backend and frees it in its destructor.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual void* data() const = 0;
  virtual std::int64_t bytes() const = 0;
};
using Buffer = std::unique_ptr<Memory>;

}  // namespace tetrarch::backend
