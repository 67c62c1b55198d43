/// The memory of the device. Only operations of streams can touch it; a host thread crashes at the
/// line where it tries.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>

#include "emulated/ranges.hpp"

namespace tetrarch::emulated {

class DeviceMemory {
 public:
  /// Filled with NaN. A null pointer when the device's memory does not suffice.
  void* allocate(std::size_t bytes);
  /// False when no allocation begins here.
  bool release(void* address);
  std::size_t free_bytes() const;

  /// Whether the address is of the device, allocated or not.
  bool has(const void* address) const;
  /// Whether one allocation holds all these bytes.
  bool contains(const void* address, std::size_t bytes) const;

  /// From open() to close(), all code of the process can touch the memory.
  void open();
  void close();

  /// Reports a fault if bytes behind an allocation were written; `writer` tells who
  /// ran since the last check.
  void check_canaries(const std::function<std::string()>& writer);

 private:
  void reserve();
  char* find_place(std::size_t bytes);
  void put_back(char* begin, std::size_t bytes);

  char* arena_ = nullptr;
  std::size_t used_ = 0;  // bytes from the arena's begin that were ever allocated
  std::size_t allocated_ = 0;
  bool is_open_ = false;
  Ranges allocations_;
  std::map<char*, std::size_t> gaps_;  // freed, below used_; no two touch
};
DeviceMemory& device_memory();

/// Host memory of cudaMallocHost and cudaHostAlloc.
Ranges& pinned_memory();

}  // namespace tetrarch::emulated
