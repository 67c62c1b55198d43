/// Gives the tile kernels rows of bf16 as whole tiles, read in place or from a copy.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/tile_matrix.hpp"

namespace tetrarch::backend::cpu {

/// Some inputs of some rows. Rows are `stride` elements apart.
struct RowBlock {
  const base::bf16* data;  // of the first row, at the first of the inputs
  std::int64_t stride;
  std::int64_t rows;
  std::int64_t inputs;

  bool operator==(const RowBlock&) const = default;
};

/// Decides whether rows are copied or read in place.
/// Rows are copied if many blocks of weights are multiplied with them. Reading them in place would
/// be a tenth to a quarter slower: rows whose distance is a power of two compete for the same few
/// cache sets.
/// Rows are copied if they are not made of whole aligned cache lines: a tile row across two cache
/// lines costs two to three times as much.
/// A last tile with fewer than 16 rows is copied. All other rows are read in place.
class TileRows {
 public:
  explicit TileRows(Scratch& scratch) : scratch_(scratch) {}

  /// Takes the rows `block`. `uses` is the number of blocks of weights that will be multiplied with
  /// them.
  void set(const RowBlock& block, std::int64_t uses) {
    if (block == block_) return;
    block_ = block;
    const bool is_whole = reinterpret_cast<std::uintptr_t>(block.data) % line == 0 &&
                          block.stride % step_inputs == 0 && block.inputs % step_inputs == 0;
    const std::int64_t steps = base::ceil_div(block.inputs, step_inputs);
    const std::int64_t in_place = is_whole && uses < worth_copying ? block.rows / 16 * 16 : 0;
    tiles_in_place_ = in_place / 16;
    // one line more: else 2^n steps would give a power-of-two stride
    stride_ = in_place > 0 ? block.stride * 2 : (steps + 1) * line;
    const std::int64_t copied = base::round_up(block.rows - in_place, 16);
    char* to = reinterpret_cast<char*>(scratch_.floats(copied * stride_ / 4));
    copy_ = to;
    for (std::int64_t row = in_place; row < in_place + copied; ++row, to += stride_) {
      const std::int64_t bytes = row < block.rows ? block.inputs * 2 : 0;
      if (bytes > 0)
        std::memcpy(to, block.data + row * block.stride, static_cast<std::size_t>(bytes));
      std::memset(to + bytes, 0, static_cast<std::size_t>(steps * line - bytes));
    }
  }
  /// The row tile number `tile`, at the first input.
  const char* tile(std::int64_t tile) const {
    if (tile >= tiles_in_place_) return copy_ + (tile - tiles_in_place_) * 16 * stride_;
    return reinterpret_cast<const char*>(block_.data) + tile * 16 * stride_;
  }
  std::int64_t stride() const { return stride_; }  // bytes

 private:
  static constexpr std::int64_t line = 64;  // bytes
  static constexpr std::int64_t worth_copying = 8;

  Scratch& scratch_;
  RowBlock block_ = {};
  std::int64_t tiles_in_place_ = 0, stride_ = 0;
  const char* copy_ = nullptr;
};

}  // namespace tetrarch::backend::cpu
