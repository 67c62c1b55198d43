/// Ranges of memory that do not overlap.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <iterator>
#include <map>

namespace tetrarch::emulated {

class Ranges {
 public:
  void add(const void* begin, std::size_t bytes) { bytes_of_[as_char(begin)] = bytes; }
  /// False if no range begins here.
  bool remove(const void* begin) { return bytes_of_.erase(as_char(begin)) == 1; }
  bool has(const void* begin) const { return bytes_of_.count(as_char(begin)) == 1; }
  std::size_t bytes_at(const void* begin) const { return bytes_of_.at(as_char(begin)); }
  /// Whether one range holds all these bytes.
  bool contain(const void* begin, std::size_t bytes) const {
    auto after = bytes_of_.upper_bound(as_char(begin));
    if (after == bytes_of_.begin()) return false;
    const auto& [first, size] = *std::prev(after);
    const std::size_t offset = static_cast<std::size_t>(as_char(begin) - first);
    return offset <= size && bytes <= size - offset;
  }
  auto begin() const { return bytes_of_.begin(); }
  auto end() const { return bytes_of_.end(); }

 private:
  static const char* as_char(const void* address) { return static_cast<const char*>(address); }
  std::map<const char*, std::size_t> bytes_of_;
};

}  // namespace tetrarch::emulated
