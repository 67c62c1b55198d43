// Keys of random bits.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/counter_random.hpp"

#include <span>

#include "storage/files/checksum.hpp"

namespace tetrarch::storage {

std::uint64_t key_of(std::uint64_t seed, std::string_view what, std::int64_t index) {
  Xxh3 hash;
  const std::uint64_t numbers[] = {seed, static_cast<std::uint64_t>(index)};
  hash.update(std::as_bytes(std::span(numbers)));
  hash.update(what);
  return hash.digest();
}

}  // namespace tetrarch::storage
