/// Random bits as a function of a key and a counter: any element can be made alone, on every
/// machine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "storage/files/checksum.hpp"

namespace tetrarch::storage {

/// SplitMix64 (Steele, Lea, Flood 2014) as a function of its counter.
inline std::uint64_t random_bits(std::uint64_t key, std::uint64_t counter) {
  std::uint64_t z = key + (counter + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/// The key of what `what` names (a path, "lengths"), and of its number `index`.
inline std::uint64_t key_of(std::uint64_t seed, std::string_view what, std::int64_t index) {
  Xxh3 hash;
  const std::uint64_t numbers[] = {seed, static_cast<std::uint64_t>(index)};
  hash.update(std::as_bytes(std::span(numbers)));
  hash.update(what);
  return hash.digest();
}

}  // namespace tetrarch::storage
