/// The innermost loop of the tile kernels: two tiles of rows times two panels of a weight.
/// Meanwhile it prefetches the weights that are multiplied next.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "backend/cpu/kernels/tile_matrix.hpp"

namespace tetrarch::backend::cpu {

/// Pointers to two panels, at one step of inputs.
struct PanelPair {
  const base::bf16* panel[2] = {};
};

/// Prefetches the two panels that are multiplied next: some cache lines at each step of the present
/// multiplication, spread evenly.
class PanelsAhead {
 public:
  PanelsAhead() = default;
  PanelsAhead(const PanelPair& next, std::int64_t steps, std::int64_t over_steps)
      : at_{reinterpret_cast<const char*>(next.panel[0]),
            reinterpret_cast<const char*>(next.panel[1])},
        lines_(steps * tile_bytes / line),
        lines_per_step_(base::ceil_div(lines_, std::max<std::int64_t>(over_steps, 1))) {}

  TETRARCH_INLINE void ask() {
    const std::int64_t count = std::min(lines_, lines_per_step_);
    for (std::int64_t i = 0; i < count; ++i) {
      // into the second-level cache, because the present weights fill the first
      __builtin_prefetch(at_[0] + i * line, 0, 2);
      __builtin_prefetch(at_[1] + i * line, 0, 2);
    }
    at_[0] += count * line;
    at_[1] += count * line;
    lines_ -= count;
  }

 private:
  static constexpr std::int64_t line = 64;  // bytes

  const char* at_[2] = {};
  std::int64_t lines_ = 0;  // of each panel, not yet prefetched
  std::int64_t lines_per_step_ = 0;
};

/// The arguments of multiply_block(): one or two tiles of rows times two panels, over some steps.
/// The sums of row tile i and panel j are f32 [16][16], at float 512 i + 256 j.
struct TileBlock {
  const char* x[2];       // row tiles, at the first step
  std::int64_t x_stride;  // bytes
  PanelPair w;
  std::int64_t steps;
  bool is_first;      // true: sums start from 0
  const float* from;  // else the sums so far; null: the tiles hold them from the call before
  float* to;          // where the sums are written; null: they stay in the tiles
};

constexpr std::int64_t block_sums = 1024;  // f32 of a TileBlock

/// Multiplies one block; calls beside() at every step. The sums are in tiles 0 to 3.
template <int RowTiles, class Tiles, class Beside>
TETRARCH_INLINE void multiply_block(Tiles& tiles, const TileBlock& block, const Beside& beside) {
  if (block.is_first) {
    tiles.template zero<0>();
    tiles.template zero<1>();
    if constexpr (RowTiles > 1) {
      tiles.template zero<2>();
      tiles.template zero<3>();
    }
  } else if (block.from != nullptr) {
    tiles.template load<0>(block.from, 64);
    tiles.template load<1>(block.from + 256, 64);
    if constexpr (RowTiles > 1) {
      tiles.template load<2>(block.from + 512, 64);
      tiles.template load<3>(block.from + 768, 64);
    }
  }
  const char *x0 = block.x[0], *x1 = block.x[1];
  const auto* w0 = reinterpret_cast<const char*>(block.w.panel[0]);
  const auto* w1 = reinterpret_cast<const char*>(block.w.panel[1]);
  for (std::int64_t step = 0; step < block.steps; ++step) {
    tiles.template load_once<4>(x0, block.x_stride);
    tiles.template load<6>(w0, 64);
    tiles.template load<7>(w1, 64);
    tiles.template multiply<0, 4, 6>();
    tiles.template multiply<1, 4, 7>();
    if constexpr (RowTiles > 1) {
      tiles.template load_once<5>(x1, block.x_stride);
      tiles.template multiply<2, 5, 6>();
      tiles.template multiply<3, 5, 7>();
    }
    beside();
    x0 += 64;
    x1 += 64;
    w0 += tile_bytes;
    w1 += tile_bytes;
  }
  if (block.to == nullptr) return;
  tiles.template store<0>(block.to, 64);
  tiles.template store<1>(block.to + 256, 64);
  if constexpr (RowTiles > 1) {
    tiles.template store<2>(block.to + 512, 64);
    tiles.template store<3>(block.to + 768, 64);
  }
}

}  // namespace tetrarch::backend::cpu
