/// Zeroed memory on the host, aligned to a cache line.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/tensor.hpp"

namespace tetrarch::backend::cpu {

class HostMemory final : public Memory {
 public:
  /// Every page is touched, by the threads that will use it. Throws SystemError(resources).
  explicit HostMemory(std::int64_t bytes);
  ~HostMemory() override;
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;
  void* data() const override { return data_; }
  std::int64_t bytes() const override { return bytes_; }
  /// Of all that are alive in this process.
  static std::int64_t bytes_alive();

 private:
  std::int64_t bytes_;
  void* data_;
};

}  // namespace tetrarch::backend::cpu
