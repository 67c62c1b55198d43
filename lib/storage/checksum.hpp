/// XXH3-64 sums: of bytes at once, of a stream, and of a unit's 4 MiB blocks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/handle.hpp"

struct XXH3_state_s;

namespace tetrarch::storage {

/// Checksum blocks are counted from each unit's first byte; the last one may be shorter.
inline constexpr std::int64_t checksum_block_bytes = 4 << 20;

std::uint64_t xxh3(std::span<const std::byte> bytes);

/// 16 hexadecimal digits.
std::string hex_text(std::uint64_t sum);

struct CloseXxh3 {
  static XXH3_state_s* empty() { return nullptr; }
  void operator()(XXH3_state_s* state) const noexcept;
};

/// The sum of everything that was given to update() so far.
class Xxh3 {
 public:
  Xxh3();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  std::uint64_t digest() const;
  void reset();

 private:
  base::Handle<XXH3_state_s*, CloseXxh3> state_;
};

/// The sums of the blocks of one unit, given in pieces of any size.
class BlockSums {
 public:
  void update(std::span<const std::byte> bytes);
  /// All sums, the last block's too; begins anew.
  std::vector<std::uint64_t> finish();

 private:
  Xxh3 block_;
  std::int64_t in_block_ = 0;
  std::vector<std::uint64_t> sums_;
};

}  // namespace tetrarch::storage
