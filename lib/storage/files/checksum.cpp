// XXH3-64 checksums by the xxhash library.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/checksum.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <xxhash.h>

#include "base/error.hpp"

namespace tetrarch::storage {

std::uint64_t xxh3(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string hex_text(std::uint64_t sum) {
  return fmt::format("{:016x}", sum);
}

void CloseXxh3::operator()(XXH3_state_s* state) const noexcept {
  XXH3_freeState(state);
}

Xxh3::Xxh3() : state_(XXH3_createState()) {
  if (!state_.has_value())
    throw base::SystemError(base::ExitCode::resources,
                            "no memory for a checksum. Give the job more memory.");
  reset();
}

void Xxh3::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
}

void Xxh3::update(std::string_view text) {
  update(std::as_bytes(std::span(text)));
}

std::uint64_t Xxh3::digest() const {
  return XXH3_64bits_digest(state_.get());
}

void Xxh3::reset() {
  XXH3_64bits_reset(state_.get());
}

void BlockSums::update(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto room = static_cast<std::size_t>(checksum_block_bytes - in_block_);
    const auto part = bytes.first(std::min(room, bytes.size()));
    block_.update(part);
    in_block_ += static_cast<std::int64_t>(part.size());
    bytes = bytes.subspan(part.size());
    if (in_block_ < checksum_block_bytes) continue;
    sums_.push_back(block_.digest());
    block_.reset();
    in_block_ = 0;
  }
}

std::vector<std::uint64_t> BlockSums::finish() {
  if (in_block_ > 0) sums_.push_back(block_.digest());
  block_.reset();
  in_block_ = 0;
  return std::exchange(sums_, {});
}

}  // namespace tetrarch::storage
