// SPDX-License-Identifier: Apache-2.0
#include "emulated/device_memory.hpp"

#include <cstdint>
#include <iterator>
#include <new>

#include <sys/mman.h>

#include "emulated/bytes.hpp"
#include "emulated/fault.hpp"
#include "emulated/settings.hpp"

namespace tetrarch::emulated {
namespace {

constexpr std::size_t arena_bytes = std::size_t{256} << 30;  // of addresses, not of memory
constexpr std::size_t alignment = 256;                       // as cudaMalloc's
constexpr std::size_t canary_bytes = 256;
// Huge pages make open() and close() fast: they cost time for each page.
constexpr std::size_t page_bytes = std::size_t{2} << 20;

std::size_t rounded_up(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}

/// What an allocation takes of the arena.
std::size_t whole_bytes(std::size_t bytes) {
  return rounded_up(bytes, alignment) + canary_bytes;
}

/// The bytes from the allocation's end to that of the last canary.
std::size_t watched_bytes(std::size_t bytes) {
  return whole_bytes(bytes) - bytes;
}

char canary_byte(std::size_t i) {
  return static_cast<char>(0xA5 ^ i);
}

void write_canary(char* end, std::size_t count) {
  allow(end, count);
  for (std::size_t i = 0; i < count; ++i)
    end[i] = canary_byte(i);
  forbid(end, count);
}

}  // namespace

DeviceMemory& device_memory() {
  static DeviceMemory memory;
  return memory;
}

Ranges& pinned_memory() {
  static Ranges ranges;
  return ranges;
}

void DeviceMemory::reserve() {
  if (arena_) return;
  void* memory = mmap(nullptr, arena_bytes + page_bytes, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  arena_ =
      reinterpret_cast<char*>(rounded_up(reinterpret_cast<std::uintptr_t>(memory), page_bytes));
  madvise(arena_, arena_bytes, MADV_HUGEPAGE);
}

void* DeviceMemory::allocate(std::size_t bytes) {
  reserve();
  const std::size_t whole = whole_bytes(bytes);
  if (bytes > free_bytes()) return nullptr;
  char* place = find_place(whole);
  if (!place) return nullptr;
  is_open_ = false;
  open();  // also of what is newly used
  allow(place, bytes);
  fill_with_nan(place, bytes);
  write_canary(place + bytes, watched_bytes(bytes));
  allocations_.add(place, bytes);
  allocated_ += bytes;
  return place;
}

char* DeviceMemory::find_place(std::size_t bytes) {
  for (const auto& [begin, size] : gaps_) {
    if (size < bytes) continue;
    char* place = begin;
    const std::size_t rest = size - bytes;
    gaps_.erase(place);
    if (rest > 0) gaps_[place + bytes] = rest;
    return place;
  }
  if (bytes > arena_bytes - used_) return nullptr;
  char* place = arena_ + used_;
  used_ += bytes;
  return place;
}

void DeviceMemory::put_back(char* begin, std::size_t bytes) {
  auto after = gaps_.upper_bound(begin);
  if (after != gaps_.end() && begin + bytes == after->first) {
    bytes += after->second;
    after = gaps_.erase(after);
  }
  if (after != gaps_.begin()) {
    auto before = std::prev(after);
    if (before->first + before->second == begin) {
      before->second += bytes;
      return;
    }
  }
  gaps_[begin] = bytes;
}

bool DeviceMemory::release(void* address) {
  if (!allocations_.has(address)) return false;
  char* begin = static_cast<char*>(address);
  const std::size_t bytes = allocations_.bytes_at(begin);
  open();
  allow(begin, whole_bytes(bytes));
  fill_with_nan(begin, whole_bytes(bytes));
  forbid(begin, whole_bytes(bytes));
  allocations_.remove(begin);
  allocated_ -= bytes;
  put_back(begin, whole_bytes(bytes));
  return true;
}

std::size_t DeviceMemory::free_bytes() const {
  const std::size_t all = options().memory_bytes;
  return all > allocated_ ? all - allocated_ : 0;
}

bool DeviceMemory::has(const void* address) const {
  const char* at = static_cast<const char*>(address);
  return arena_ && at >= arena_ && at < arena_ + arena_bytes;
}

bool DeviceMemory::contains(const void* address, std::size_t bytes) const {
  return allocations_.contain(address, bytes);
}

void DeviceMemory::open() {
  if (is_open_ || !arena_) return;
  mprotect(arena_, rounded_up(used_, page_bytes), PROT_READ | PROT_WRITE);
  is_open_ = true;
}

void DeviceMemory::close() {
  if (!is_open_ || !options().protects_memory) return;
  mprotect(arena_, rounded_up(used_, page_bytes), PROT_NONE);
  is_open_ = false;
}

void DeviceMemory::check_canaries(const std::function<std::string()>& writer) {
  if (!options().checks_canaries) return;
  for (const auto& [begin, bytes] : allocations_) {
    char* end = const_cast<char*>(begin) + bytes;
    for (std::size_t i = 0; i < watched_bytes(bytes); ++i) {
      if (end[i] == canary_byte(i)) continue;
      report_fault(writer() + " changed byte " + std::to_string(i) + " behind an allocation of " +
                   std::to_string(bytes) + " bytes");
      write_canary(end, watched_bytes(bytes));
      break;
    }
  }
}

}  // namespace tetrarch::emulated
