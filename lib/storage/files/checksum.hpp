/// XXH3-64 checksums of a range of bytes, of a stream, and of the 4 MiB blocks of a unit.
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

/// Size of a checksum block. Blocks are counted from the first byte of each unit; the last block of
/// a unit may be shorter. A unit is the smallest part of a tensor that a rank reads
/// (plan/shard.hpp).
inline constexpr std::int64_t checksum_block_bytes = 4 << 20;

/// The XXH3-64 sum of `bytes`.
std::uint64_t xxh3(std::span<const std::byte> bytes);

/// A sum as 16 hexadecimal digits.
std::string hex_text(std::uint64_t sum);

struct CloseXxh3 {
  static XXH3_state_s* empty() { return nullptr; }
  void operator()(XXH3_state_s* state) const noexcept;
};

/// The XXH3-64 sum of a stream: digest() covers all bytes given to update() since the constructor
/// or the last reset(). The constructor throws SystemError(resources) if memory is short.
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

/// The sums of the blocks of one unit, whose bytes are given in order and in pieces of any size.
class BlockSums {
 public:
  void update(std::span<const std::byte> bytes);
  /// The sums of all blocks in order, including a shorter last block. Then starts the next unit.
  std::vector<std::uint64_t> finish();

 private:
  Xxh3 block_;
  std::int64_t in_block_ = 0;
  std::vector<std::uint64_t> sums_;
};

}  // namespace tetrarch::storage
