/// Zeroed memory on the host, aligned to a cache line.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/tensor.hpp"

namespace tetrarch::backend::cpu {

class HostMemory final : public Memory {
 public:
  /// Allocates and zeroes `bytes` bytes. The threads that compute write the zeros, so that each
  /// page lies near its thread. Throws SystemError(resources) when there is not enough memory.
  explicit HostMemory(std::int64_t bytes);
  ~HostMemory() override;
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;
  void* data() const override { return data_; }
  std::int64_t bytes() const override { return bytes_; }
  /// Bytes of all live objects of this process.
  static std::int64_t bytes_alive();

 private:
  std::int64_t bytes_;
  void* data_;
};

}  // namespace tetrarch::backend::cpu
