/// Memory of the device, and host memory that the device can read and write.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "backend/tensor.hpp"

namespace tetrarch::backend::cuda {

/// Memory of the device, zeroed by an operation on `stream`.
class DeviceMemory final : public Memory {
 public:
  /// Throws SystemError(resources) when the device has not enough memory.
  DeviceMemory(std::int64_t bytes, cudaStream_t stream);
  ~DeviceMemory() override;
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  void* data() const override { return data_; }
  std::int64_t bytes() const override { return bytes_; }

  /// The bytes that `bytes` bytes take: the device allocates in units of 256 bytes.
  static std::int64_t taken(std::int64_t bytes);
  /// Bytes of all objects of this process.
  static std::int64_t bytes_alive();

 private:
  std::int64_t bytes_;
  void* data_ = nullptr;
};

/// Host memory at a fixed physical address, as asynchronous copies need it. It grows when a larger
/// size is asked for, and never shrinks.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  /// At least `bytes` bytes. The contents are lost when the memory grows; no copy may be under way
  /// then. Throws SystemError(resources) when the system refuses.
  std::byte* reserve(std::int64_t bytes);
  std::byte* data() const { return data_; }

 private:
  std::int64_t bytes_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace tetrarch::backend::cuda
