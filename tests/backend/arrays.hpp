/// Tensors that own their memory, for tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <limits>
#include <vector>

#include "backend/compute.hpp"
#include "backend/cpu/cpu_compute.hpp"

namespace tetrarch::backend::cpu {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

class Array {
 public:
  Array(base::DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t slices = 1)
      : bytes_(static_cast<std::size_t>(slices * rows * columns * base::size_of(dtype)) + 1),
        tensor_{bytes_.data(), dtype, slices, rows, columns} {}
  Array(const Array& other) : bytes_(other.bytes_), tensor_(other.tensor_) {
    tensor_.data = bytes_.data();
  }
  Array& operator=(const Array&) = delete;

  /// Pseudo-random values of both signs with |value| < size; the same for the same seed.
  static Array random(base::DType dtype, std::int64_t rows, std::int64_t columns,
                      std::uint32_t seed, float size = 1, std::int64_t slices = 1) {
    Array array(dtype, rows, columns, slices);
    std::uint32_t state = seed * 2654435761u + 12345u;
    for (std::int64_t i = 0; i < array.size(); ++i) {
      state = state * 1664525u + 1013904223u;
      array.set(i, size * (static_cast<float>(state >> 8) * 0x1p-23f - 1));
    }
    return array;
  }
  static Array of_ints(std::int64_t rows, std::int64_t columns,
                       const std::vector<std::int32_t>& values) {
    Array array(base::DType::i32, rows, columns);
    if (!values.empty()) std::memcpy(array.tensor_.data, values.data(), values.size() * 4);
    return array;
  }
  static Array of_floats(base::DType dtype, std::int64_t rows, std::int64_t columns,
                         const std::vector<float>& values) {
    Array array(dtype, rows, columns);
    for (std::size_t i = 0; i < values.size(); ++i)
      array.set(static_cast<std::int64_t>(i), values[i]);
    return array;
  }

  operator const Tensor&() const { return tensor_; }
  const Tensor& tensor() const { return tensor_; }
  std::int64_t size() const { return tensor_.elements(); }
  const void* data() const { return tensor_.data; }

  float operator[](std::int64_t i) const {
    if (tensor_.dtype == base::DType::f32) return tensor_.as<float>()[i];
    return base::to_float(tensor_.as<base::bf16>()[i]);
  }
  float at(std::int64_t row, std::int64_t column) const {
    return (*this)[row * tensor_.columns + column];
  }
  std::int32_t integer(std::int64_t i) const { return tensor_.as<std::int32_t>()[i]; }
  void set(std::int64_t i, float value) {
    if (tensor_.dtype == base::DType::f32)
      tensor_.as<float>()[i] = value;
    else
      tensor_.as<base::bf16>()[i] = base::to_bf16(value);
  }

 private:
  std::vector<std::byte> bytes_;
  Tensor tensor_;
};

inline bool has_same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() &&
         std::memcmp(a.data, b.data, static_cast<std::size_t>(a.bytes())) == 0;
}

/// Number of elements whose bits differ.
inline std::int64_t num_differences(const Tensor& a, const Tensor& b) {
  const std::int64_t size = base::size_of(a.dtype);
  std::int64_t differences = a.bytes() == b.bytes() ? 0 : a.elements();
  for (std::int64_t i = 0; differences < a.elements() && i < a.elements(); ++i)
    differences += std::memcmp(static_cast<std::byte*>(a.data) + i * size,
                               static_cast<std::byte*>(b.data) + i * size,
                               static_cast<std::size_t>(size)) != 0;
  return differences;
}

inline float rounded(float value, base::DType dtype) {
  return dtype == base::DType::f32 ? value : base::to_float(base::to_bf16(value));
}

/// Largest relative error of one rounding.
inline double epsilon_of(base::DType dtype) {
  return dtype == base::DType::f32 ? 0x1p-24 : 0x1p-8;
}

inline CpuCompute portable_compute() {
  return CpuCompute(make_portable_gemm());
}

}  // namespace tetrarch::backend::cpu
