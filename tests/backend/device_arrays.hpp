/// Arrays in device memory, for tests that compare kernels with those of the CPU.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <iomanip>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "backend/arrays.hpp"
#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cuda {

using base::DType;
using cpu::Array;
using cpu::infinity;
using cpu::not_a_number;

/// The stream of all test kernels.
inline cudaStream_t stream() {
  static const cudaStream_t made = [] {
    cudaStream_t handle = nullptr;
    EXPECT_EQ(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), cudaSuccess);
    return handle;
  }();
  return made;
}

/// Copies through pinned memory, and waits.
inline void copy_bytes(const void* from, void* to, std::int64_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0) return;
  const auto size = static_cast<std::size_t>(bytes);
  void* staging = nullptr;
  ASSERT_EQ(cudaMallocHost(&staging, size), cudaSuccess);
  if (kind == cudaMemcpyHostToDevice) std::memcpy(staging, from, size);
  EXPECT_EQ(cudaMemcpyAsync(kind == cudaMemcpyHostToDevice ? to : staging,
                            kind == cudaMemcpyHostToDevice ? staging : from, size, kind, stream()),
            cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
  if (kind == cudaMemcpyDeviceToHost) std::memcpy(to, staging, size);
  EXPECT_EQ(cudaFreeHost(staging), cudaSuccess);
}

/// Bytes in device memory.
class DeviceBytes {
 public:
  explicit DeviceBytes(std::int64_t bytes) {
    EXPECT_EQ(cudaMalloc(&data_, static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1))),
              cudaSuccess);
  }
  ~DeviceBytes() { cudaFree(data_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

/// A copy of an array in device memory. With `skip`, it begins after that number of elements, so
/// that it is not aligned to 16 bytes.
class OnDevice {
 public:
  explicit OnDevice(const Array& from, std::int64_t skip = 0)
      : memory_(from.tensor().bytes() + skip * base::size_of(from.tensor().dtype)),
        tensor_(from.tensor()) {
    tensor_.data =
        static_cast<std::byte*>(memory_.data()) + skip * base::size_of(from.tensor().dtype);
    copy_bytes(from.data(), tensor_.data, tensor_.bytes(), cudaMemcpyHostToDevice);
  }

  operator const Tensor&() const { return tensor_; }
  const Tensor& tensor() const { return tensor_; }
  /// A copy in host memory, after all work on the stream.
  Array download() const {
    Array to(tensor_.dtype, tensor_.rows, tensor_.columns, tensor_.slices);
    copy_bytes(tensor_.data, to.tensor().data, tensor_.bytes(), cudaMemcpyDeviceToHost);
    return to;
  }

 private:
  DeviceBytes memory_;
  Tensor tensor_;
};

inline bool is_nan(std::uint32_t bits) {
  return (bits & 0x7fffffffu) > 0x7f800000u;
}

/// Two arrays with the same bits, where any NaN is as good as another. With a tolerance, floats may
/// differ by this part of the expected value.
inline ::testing::AssertionResult has_bits_of(const Array& expected, const OnDevice& device,
                                              float tolerance = 0) {
  const Array actual = device.download();
  const bool is_integer = expected.tensor().dtype == DType::i32;
  const auto is_right = [&](std::int64_t i) {
    if (is_integer) return actual.integer(i) == expected.integer(i);
    const float is = actual[i], must_be = expected[i];
    return std::bit_cast<std::uint32_t>(is) == std::bit_cast<std::uint32_t>(must_be) ||
           (is != is && must_be != must_be) ||
           std::abs(is - must_be) < tolerance * std::abs(must_be);
  };
  std::int64_t num_wrong = 0, first = -1;
  for (std::int64_t i = expected.size() - 1; i >= 0; --i)
    if (!is_right(i)) {
      ++num_wrong;
      first = i;
    }
  if (num_wrong == 0) return ::testing::AssertionSuccess();
  auto failure = ::testing::AssertionFailure() << num_wrong << " of " << expected.size()
                                               << " elements differ; element " << first << " is ";
  if (is_integer)
    failure << actual.integer(first) << ", not " << expected.integer(first);
  else
    failure << std::setprecision(9) << actual[first] << ", not " << expected[first];
  return failure << " (" << expected.tensor().columns << " columns)";
}

/// Values in which every kind stands somewhere: ordinary ones, zeros of both signs, denormal and
/// huge ones, and, `with_bad`, infinities and NaN in about one of `rarity` rows.
inline Array nasty(DType dtype, std::int64_t rows, std::int64_t columns, std::uint32_t seed,
                   bool with_bad = false, std::int64_t slices = 1) {
  Array array = Array::random(dtype, rows, columns, seed, 4, slices);
  std::uint32_t state = seed * 747796405u + 2891336453u;
  const auto next = [&] {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
  };
  constexpr float special[] = {0.0f, -0.0f, 1e-41f, -1e-38f, 1e4f, -3e5f, 1, -1};
  constexpr float bad[] = {infinity, -infinity, not_a_number};
  for (std::int64_t i = 0; i < array.size(); ++i)
    if (next() % 16 == 0) array.set(i, special[next() % 8]);
  if (!with_bad || columns == 0) return array;
  for (std::int64_t row = 0; row < rows * slices; ++row)
    if (next() % 4 == 0) array.set(row * columns + next() % columns, bad[next() % 3]);
  return array;
}

/// The kernels of the CPU have the bits of these only where it has fused multiply-adds.
class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef __x86_64__
    if (cpu::simd::active_isa() == cpu::simd::Isa::any)
      GTEST_SKIP() << "this CPU has no fused multiply-adds";
#endif
  }
  cpu::CpuCompute compute_ = cpu::portable_compute();
};

constexpr DType dtypes[] = {DType::f32, DType::bf16};

}  // namespace tetrarch::backend::cuda
