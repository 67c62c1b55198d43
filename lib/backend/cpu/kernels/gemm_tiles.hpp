/// Products of bf16 by tiles: a template over the tile policy (amx_tiles.hpp, soft_tiles.hpp).
///
/// The definition of an output: sum = +0; then, for each 32 inputs in order, one multiply() of the
/// tiles. Inputs are padded with zeros to a multiple of 32. Nothing else decides its bits. Blocking
/// decides only whether a sum is kept in a tile or in memory between steps. The blocking is made
/// for 48 KiB of first-level cache and 2 MiB of second-level cache:
///  - A block of weights is two panels times at most 16 steps (32 KiB). It stays in the first
///    level while up to 512 rows (1 MiB) are multiplied with it; the rows are in the second level.
///  - Meanwhile, the next block of weights is loaded into the second level.
///  - Finished sums are rounded and written, one or two rows at a time, between the
///    multiplications of the next block.
///  - If the rows have too many inputs for the second level, the inputs are cut into chunks. Each
///    chunk is multiplied with several blocks, whose sums are kept in memory between chunks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "backend/cpu/kernels/tile_finish.hpp"
#include "backend/cpu/kernels/tile_rows.hpp"

namespace tetrarch::backend::cpu {

/// One product or one expert of a call. Rows y_row, y_row + 1, ... of y become x w^T, or the
/// activation of it (TileOutput).
struct TileGroup {
  const base::bf16* x;  // [rows][inputs]
  std::int64_t rows;
  const TileMatrix* gate;  // null: none
  const TileMatrix* w;
  Tensor y;
  std::int64_t y_row;

  std::int64_t num_weights() const { return gate == nullptr ? 1 : 2; }
  /// The number of blocks. A block is two panels of w, or, with a gate, one panel of the gate and
  /// one of w.
  std::int64_t blocks() const { return base::ceil_div(w->panels(), gate == nullptr ? 2 : 1); }
  PanelPair panels(std::int64_t block, std::int64_t step) const {
    if (gate != nullptr) return {gate->at(block, step), w->at(block, step)};
    // if there is no second panel, the first is taken twice, and the second sums are not written
    return {w->at(2 * block, step), w->at(std::min(2 * block + 1, w->panels() - 1), step)};
  }
};

/// Some rows of a group times some blocks of its weights.
struct TileUnit {
  const TileGroup* group;
  std::int64_t row, rows;
  std::int64_t block, blocks;
  std::int64_t chunk_steps;  // most steps of a chunk of inputs
};

/// A stretch: consecutive inputs of one block, at most most_stretch_steps steps.
struct Stretch {
  std::int64_t block;
  std::int64_t begin, end;              // steps
  std::int64_t chunk_begin, chunk_end;  // steps of the chunk that contains it
  bool is_last;                         // true: the last stretch of its block
};

constexpr std::int64_t most_stretch_steps = 16;

/// The end of the first part when [begin, end) is cut evenly into parts of at most `most`.
inline std::int64_t first_end(std::int64_t begin, std::int64_t end, std::int64_t most) {
  return begin + (end - begin) / base::ceil_div(end - begin, most);
}

/// All stretches of a unit, in order.
inline void list_stretches(const TileUnit& unit, std::vector<Stretch>& to) {
  to.clear();
  const std::int64_t steps = unit.group->w->steps();
  for (std::int64_t chunk = 0, chunk_end; chunk < steps; chunk = chunk_end) {
    chunk_end = first_end(chunk, steps, unit.chunk_steps);
    for (std::int64_t block = unit.block; block < unit.block + unit.blocks; ++block)
      for (std::int64_t step = chunk, end; step < chunk_end; step = end) {
        end = first_end(step, chunk_end, most_stretch_steps);
        to.push_back({block, step, end, chunk, chunk_end, end == steps});
      }
  }
}

/// The working memory of a thread.
struct TileScratch {
  Scratch rows, sums, done;
  std::vector<Stretch> stretches;
};

/// Computes the units of one thread.
template <class Tiles, TileOutput Output>
class TileWorker {
 public:
  TileWorker(ActivationKind kind, TileScratch& scratch)
      : kind_(kind),
        scratch_(scratch),
        rows_(scratch.rows),
        done_(scratch.done.floats(2 * block_sums)) {}

  /// Computes `unit`. `next` is the following unit of the thread, or null; its weights are
  /// prefetched.
  TETRARCH_INLINE void work(const TileUnit& unit, const TileUnit* next) {
    std::vector<Stretch>& stretches = scratch_.stretches;
    list_stretches(unit, stretches);
    const std::int64_t pairs = base::ceil_div(unit.rows, 32);
    sums_ = scratch_.sums.floats(unit.blocks * pairs * block_sums);
    bool was_left_in_tiles = false;
    for (std::size_t i = 0; i < stretches.size(); ++i) {
      const Stretch& stretch = stretches[i];
      const Stretch* following = i + 1 < stretches.size() ? &stretches[i + 1] : nullptr;
      set_rows(unit, stretch);
      PanelsAhead ahead =
          panels_ahead(unit, following, next, pairs * (stretch.end - stretch.begin));
      const bool is_left_in_tiles =
          pairs == 1 && following != nullptr && following->block == stretch.block;
      for (std::int64_t pair = 0; pair < pairs; ++pair)
        multiply_pair(unit, stretch, pair, ahead, was_left_in_tiles, is_left_in_tiles);
      was_left_in_tiles = is_left_in_tiles;
    }
  }
  /// Writes the rows that are left. Call it after the last unit.
  TETRARCH_INLINE void finish() { finish_.advance(32); }

 private:
  void set_rows(const TileUnit& unit, const Stretch& stretch) {
    const TileGroup& group = *unit.group;
    const std::int64_t inputs = group.w->inputs(), first = stretch.chunk_begin * step_inputs;
    const std::int64_t last = std::min(inputs, stretch.chunk_end * step_inputs);
    const bool is_whole = stretch.chunk_end - stretch.chunk_begin == group.w->steps();
    // the following units most often have the same rows
    const std::int64_t uses = is_whole ? group.blocks() - unit.block : unit.blocks;
    rows_.set({group.x + unit.row * inputs + first, inputs, unit.rows, last - first}, uses);
  }

  static PanelsAhead panels_ahead(const TileUnit& unit, const Stretch* following,
                                  const TileUnit* next, std::int64_t over_steps) {
    if (following != nullptr)
      return {unit.group->panels(following->block, following->begin),
              following->end - following->begin, over_steps};
    if (next == nullptr) return {};
    const std::int64_t steps = next->group->w->steps();
    const std::int64_t chunk = first_end(0, steps, next->chunk_steps);
    return {next->group->panels(next->block, 0), first_end(0, chunk, most_stretch_steps),
            over_steps};
  }

  TETRARCH_INLINE void multiply_pair(const TileUnit& unit, const Stretch& stretch,
                                     std::int64_t pair, PanelsAhead& ahead, bool was_left_in_tiles,
                                     bool is_left_in_tiles) {
    const std::int64_t count = std::min<std::int64_t>(32, unit.rows - pair * 32);
    const std::int64_t at = (stretch.begin - stretch.chunk_begin) * 64;  // in bytes of a tile's row
    const std::int64_t pairs = base::ceil_div(unit.rows, 32);
    float* const sums = sums_ + ((stretch.block - unit.block) * pairs + pair) * block_sums;
    float* const done = done_ + turn_ * block_sums;
    TileBlock block;
    block.x[0] = rows_.tile(2 * pair) + at;
    block.x[1] = count > 16 ? rows_.tile(2 * pair + 1) + at : block.x[0];
    block.x_stride = rows_.stride();
    block.w = unit.group->panels(stretch.block, stretch.begin);
    block.steps = stretch.end - stretch.begin;
    block.is_first = stretch.begin == 0;
    block.from = was_left_in_tiles ? nullptr : sums;
    block.to = stretch.is_last ? done : is_left_in_tiles ? nullptr : sums;
    const std::int64_t rows_per_step = base::ceil_div(finish_.rows_left(), block.steps);
    const auto beside = [&]() __attribute__((always_inline)) {
      ahead.ask();
      finish_.advance(rows_per_step);
    };
    if (count > 16)
      multiply_block<2>(tiles_, block, beside);
    else
      multiply_block<1>(tiles_, block, beside);
    if (!stretch.is_last) return;
    constexpr std::int64_t columns = Output == TileOutput::gated ? 16 : 32;
    finish_.begin(done, count, unit.group->y, unit.group->y_row + unit.row + pair * 32,
                  stretch.block * columns, kind_);
    turn_ = 1 - turn_;
  }

  ActivationKind kind_;
  TileScratch& scratch_;
  Tiles tiles_;
  TileRows rows_;
  TileFinish<Output, Tiles::width> finish_;
  float* sums_ = nullptr;
  float* done_;  // two blocks that alternate: one is filled while the other is written out
  std::int64_t turn_ = 0;
};

}  // namespace tetrarch::backend::cpu
