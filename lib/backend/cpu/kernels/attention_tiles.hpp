/// Attention of bf16 by tiles: the algorithm of attention_bf16.cpp, with other orders of summation.
/// A template over the tile policy (amx_tiles.hpp, soft_tiles.hpp).
///
/// Sixteen queries are the columns of a panel. Scores are products of keys and queries, in steps of
/// 32 dimensions. Sums are products of transposed values and probabilities, in steps of 32 keys.
/// Each element is computed independently, so the bits of a query do not depend on its neighbours.
/// Steps whose keys no query of the panel attends to are skipped: their probability is 0, and
/// adding 0 times a finite value changes nothing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "backend/cpu/kernels/attention_item.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"
#include "backend/cpu/kernels/tile_finish.hpp"
#include "backend/cpu/kernels/tile_matrix.hpp"

namespace tetrarch::backend::cpu {

/// The working memory of one work item.
struct TileAttentionSpace {
  std::int64_t steps;          // of 32 dimensions
  std::int64_t dimensions;     // 32 per step; 0 beyond the head's dimensions
  base::bf16* key;             // [128][dimensions]
  base::bf16* two_rows;        // [2][dimensions]
  std::uint32_t* value;        // [16 pairs of keys][dimensions]: the values of one step
  std::uint32_t* turned;       // [dimensions][64 pairs of keys]: the values, transposed
  std::uint32_t* query;        // [panels][dimensions / 2 pairs][16]
  std::uint32_t* probability;  // [64 pairs of keys][16]
  float* score;                // [128][16]
  float* sum;                  // [panels][dimensions][16]
  float* max;                  // [panels][16], largest score * log2(e)
  float* weight;               // [panels][16]
  std::int32_t* position;      // [panels][16]; -1: no query

  static constexpr std::int64_t pairs_per_step = step_inputs / 2;
  static constexpr std::int64_t key_pairs = block_keys / 2;

  TileAttentionSpace(Scratch& scratch, std::int64_t head_size, std::int64_t panels)
      : steps(base::ceil_div(head_size, step_inputs)), dimensions(steps * step_inputs) {
    constexpr std::int64_t lanes = simd::lanes;
    const std::int64_t floats = (block_keys + pairs_per_step + 1) * dimensions +
                                (block_keys + key_pairs) * lanes +
                                panels * (dimensions / 2 + dimensions + 3) * lanes;
    float* memory = scratch.floats(floats);
    const auto take = [&](auto*& part, std::int64_t count) {
      part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(memory);
      memory += count;
    };
    take(key, block_keys * dimensions / 2);
    take(turned, block_keys * dimensions / 2);
    take(two_rows, dimensions);
    take(value, pairs_per_step * dimensions);
    take(query, panels * dimensions / 2 * lanes);
    take(sum, panels * dimensions * lanes);
    take(score, block_keys * lanes);
    take(probability, key_pairs * lanes);
    take(max, panels * lanes);
    take(weight, panels * lanes);
    take(position, panels * lanes);
  }
};

/// 2^x for x <= 0; rounding errors may make x a little larger. The error is below 2 ulp. The result
/// is 0 for x below -125.5, so that no result is denormal. NaN stays NaN. x is split into a whole
/// number and a rest in [-1/2, 1/2]; 2^rest is a minimax polynomial.
template <int Width>
TETRARCH_INLINE simd::F32<Width> exp2_below(simd::F32<Width> x) {
  using simd::splat;
  const auto magic = splat<Width>(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const auto shifted = x + magic;
  const auto f = x - (shifted - magic);
  auto p = splat<Width>(0.0013276472f);
  p = simd::fma(p, f, splat<Width>(0.009675541f));
  p = simd::fma(p, f, splat<Width>(0.05550713f));
  p = simd::fma(p, f, splat<Width>(0.2402212f));
  p = simd::fma(p, f, splat<Width>(0.69314694f));
  p = simd::fma(p, f, splat<Width>(1.0f));
  for (int i = 0; i < simd::lanes / Width; ++i) {
    using Int = typename simd::I32<Width>::Part;
    const Int power = (reinterpret_cast<Int>(shifted.part[i]) + 127) << 23;
    p.part[i] = p.part[i] * reinterpret_cast<typename simd::F32<Width>::Part>(power);
  }
  return select(x < splat<Width>(-125.5f), splat<Width>(0), p);
}

/// True if all d values of a row are finite.
TETRARCH_INLINE bool is_finite(const base::bf16* row, std::int64_t d) {
  unsigned bad = 0;
  for (std::int64_t c = 0; c < d; ++c)
    bad |= (row[c].bits & 0x7f80u) == 0x7f80u;
  return bad == 0;
}

/// Computes one work item (attention_item.hpp). In a block of keys that reaches beyond the
/// sequence, the missing rows of keys and values are 0; so are rows that are not finite, and the
/// positions of these are added to `bad`.
template <class Tiles>
class TileAttention {
 public:
  static constexpr int width = Tiles::width;

  TileAttention(const AttentionArgs& args, const Item& item, std::int64_t panels, Scratch& scratch,
                std::vector<std::int64_t>& bad)
      : args_(args),
        item_(item),
        panels_(panels),
        w_(scratch, args.shape.head_size, panels),
        bad_(bad) {}

  TETRARCH_INLINE void run() {
    fill_query_pairs(args_, item_, panels_, w_.dimensions / 2, w_.query, w_.position);
    std::fill_n(w_.sum, panels_ * w_.dimensions * lanes, 0.0f);
    std::fill_n(w_.max, panels_ * lanes, -infinity);
    std::fill_n(w_.weight, panels_ * lanes, 0.0f);
    for (std::int64_t block = args_.first_block(item_); block <= args_.last_block(item_); ++block) {
      const std::int64_t first_key = block * block_keys - args_.shift;
      bad_.clear();
      fill_keys(first_key);
      for (std::int64_t step = 0; step < steps_of(item_.last_position() - first_key); ++step)
        fill_values(first_key, step);
      for (std::int64_t panel = 0; panel < panels_; ++panel)
        attend_block(panel, first_key);
      spoil_queries(w_.position, w_.weight, panels_ * lanes, args_.shape.window, bad_);
    }
    for (std::int64_t panel = 0; panel < panels_; ++panel)
      divide(panel);
    write_pairs(args_, item_, w_.dimensions / 2, w_.query);
  }

 private:
  using Floats = simd::F32<width>;
  static constexpr std::int64_t lanes = simd::lanes;
  static constexpr std::int64_t tile_rows = 16, key_pairs = TileAttentionSpace::key_pairs;
  static constexpr float infinity = std::numeric_limits<float>::infinity();

  /// The number of steps of keys up to key number `last` of a block.
  static std::int64_t steps_of(std::int64_t last) {
    return std::min(block_keys, last + step_inputs) / step_inputs;
  }

  /// The row of a key or value; null if it is missing or not finite.
  TETRARCH_INLINE const base::bf16* usable_row(const Tensor& from, std::int64_t key) {
    if (key < 0 || key > item_.last_position()) return nullptr;
    const std::int64_t d = args_.shape.head_size;
    const auto* row = static_cast<const base::bf16*>(from.data) +
                      (item_.segment->key_row + key) * from.columns + item_.kv_head * d;
    if (is_finite(row, d)) return row;
    bad_.push_back(key);
    return nullptr;
  }

  TETRARCH_INLINE void fill_keys(std::int64_t first_key) {
    const std::int64_t count = steps_of(item_.last_position() - first_key) * step_inputs;
    for (std::int64_t j = 0; j < count; ++j)
      put_row(usable_row(args_.key, first_key + j), w_.key + j * w_.dimensions);
  }
  TETRARCH_INLINE void put_row(const base::bf16* row, base::bf16* to) {
    const std::int64_t d = row == nullptr ? 0 : args_.shape.head_size;
    std::copy_n(row, d, to);
    std::fill_n(to + d, w_.dimensions - d, base::bf16{});
  }

  /// Loads the values of 32 keys: interleaves those of keys 2 p and 2 p + 1, then transposes.
  TETRARCH_INLINE void fill_values(std::int64_t first_key, std::int64_t step) {
    base::bf16 *even = w_.two_rows, *odd = w_.two_rows + w_.dimensions;
    for (std::int64_t pair = 0; pair < tile_rows; ++pair) {
      const std::int64_t key = first_key + step * step_inputs + 2 * pair;
      put_row(usable_row(args_.value, key), even);
      put_row(usable_row(args_.value, key + 1), odd);
      std::uint32_t* to = w_.value + pair * w_.dimensions;
      for (std::int64_t c = 0; c < w_.dimensions; ++c)
        to[c] = even[c].bits | static_cast<std::uint32_t>(odd[c].bits) << 16;
    }
    for (std::int64_t c = 0; c < w_.dimensions; c += tile_rows)
      Tiles::turn(w_.value + c, w_.dimensions, w_.turned + c * key_pairs + step * tile_rows,
                  key_pairs);
  }

  /// c [row_tiles * 16][16] (+)= a [row_tiles * 16][steps of 32] b [steps of 32][16]. Rows of `a`
  /// are a_stride bytes apart. row_tiles must be even; four tiles are computed at a time where
  /// possible.
  template <bool is_first>
  TETRARCH_INLINE void multiply(const void* a, std::int64_t a_stride, const std::uint32_t* b,
                                std::int64_t steps, float* c, std::int64_t row_tiles) {
    const auto* rows = static_cast<const char*>(a);
    for (; row_tiles >= 4; row_tiles -= 4, rows += 4 * tile_rows * a_stride, c += 1024)
      multiply_rows<4, is_first>(rows, a_stride, b, steps, c);
    if (row_tiles > 0) multiply_rows<2, is_first>(rows, a_stride, b, steps, c);
  }
  template <int RowTiles, bool is_first>
  TETRARCH_INLINE void multiply_rows(const char* a, std::int64_t a_stride, const std::uint32_t* b,
                                     std::int64_t steps, float* c) {
    if constexpr (is_first) {
      tiles_.template zero<0>();
      tiles_.template zero<1>();
      if constexpr (RowTiles > 2) {
        tiles_.template zero<2>();
        tiles_.template zero<3>();
      }
    } else {
      tiles_.template load<0>(c, 64);
      tiles_.template load<1>(c + 256, 64);
      if constexpr (RowTiles > 2) {
        tiles_.template load<2>(c + 512, 64);
        tiles_.template load<3>(c + 768, 64);
      }
    }
    for (std::int64_t step = 0; step < steps; ++step, a += 64, b += 256) {
      tiles_.template load<6>(b, 64);
      tiles_.template load<4>(a, a_stride);
      tiles_.template multiply<0, 4, 6>();
      tiles_.template load<5>(a + tile_rows * a_stride, a_stride);
      tiles_.template multiply<1, 5, 6>();
      if constexpr (RowTiles > 2) {
        tiles_.template load<4>(a + 2 * tile_rows * a_stride, a_stride);
        tiles_.template multiply<2, 4, 6>();
        tiles_.template load<5>(a + 3 * tile_rows * a_stride, a_stride);
        tiles_.template multiply<3, 5, 6>();
      }
    }
    tiles_.template store<0>(c, 64);
    tiles_.template store<1>(c + 256, 64);
    if constexpr (RowTiles > 2) {
      tiles_.template store<2>(c + 512, 64);
      tiles_.template store<3>(c + 768, 64);
    }
  }

  /// Attention of one panel of queries to one block of keys.
  TETRARCH_INLINE void attend_block(std::int64_t panel, std::int64_t first_key) {
    const std::int64_t window = args_.shape.window;
    const std::int32_t* position = w_.position + panel * lanes;
    const auto [least, most] = std::minmax_element(position, position + lanes);
    const std::int64_t lowest = *least, highest = *most;
    if (highest < first_key) return;
    const std::int64_t steps = steps_of(highest - first_key), num_keys = steps * step_inputs;
    const bool sees_all = first_key >= 0 && first_key + num_keys - 1 <= lowest &&
                          (window == 0 || first_key > highest - window);

    multiply<true>(w_.key, w_.dimensions * 2, w_.query + panel * w_.dimensions / 2 * lanes,
                   w_.steps, w_.score, 2 * steps);
    if (!sees_all) mask_scores(num_keys, first_key, simd::load<width>(position));
    soften(panel, num_keys);
    multiply<false>(w_.turned, key_pairs * 4, w_.probability, steps,
                    w_.sum + panel * w_.dimensions * lanes, 2 * w_.steps);
  }

  /// Sets the scores of keys that a lane may not attend to to -infinity.
  TETRARCH_INLINE void mask_scores(std::int64_t num_keys, std::int64_t first_key,
                                   simd::I32<width> position) {
    const Floats hidden = simd::splat<width>(-infinity);
    const std::int64_t window = args_.shape.window;
    for (std::int64_t j = 0; j < num_keys; ++j) {
      const std::int64_t key = first_key + j;
      float* at = w_.score + j * lanes;
      Floats score = simd::load<width>(at);
      score =
          select(position < simd::splat_int<width>(static_cast<std::int32_t>(key)), hidden, score);
      if (window > 0)
        score = select(position > simd::splat_int<width>(last_to_see(key, window)), hidden, score);
      if (key < 0) score = hidden;
      simd::store(score, at);
    }
  }

  /// Turns scores into probabilities, and updates the maximum, the weight and the sums of the
  /// panel.
  TETRARCH_INLINE void soften(std::int64_t panel, std::int64_t num_keys) {
    constexpr float log2_e = 1.44269504088896341f;
    Floats most = simd::splat<width>(-infinity);
    for (std::int64_t j = 0; j < num_keys; ++j)
      most = simd::max(most, simd::load<width>(w_.score + j * lanes));
    const Floats factor = simd::splat<width>(args_.shape.scale * log2_e);
    const Floats old_max = simd::load<width>(w_.max + panel * lanes);
    const Floats new_max = simd::max(old_max, most * factor);
    // a lane without any key so far does not change: 2^(-inf - 0) = 0
    const Floats base =
        select(new_max == simd::splat<width>(-infinity), simd::splat<width>(0), new_max);
    const Floats below = simd::splat<width>(0) - base;
    const Floats shrink = exp2_below(old_max + below);
    Floats weight = simd::splat<width>(0);  // of this block
    for (std::int64_t j = 0; j < num_keys; j += 2) {
      const float* score = w_.score + j * lanes;
      const Floats even = exp2_below(simd::fma(simd::load<width>(score), factor, below));
      const Floats odd = exp2_below(simd::fma(simd::load<width>(score + lanes), factor, below));
      weight = weight + even + odd;
      Tiles::pair(even, odd, w_.probability + j / 2 * lanes);
    }
    simd::store(new_max, w_.max + panel * lanes);
    float* whole = w_.weight + panel * lanes;
    simd::store(simd::fma(simd::load<width>(whole), shrink, weight), whole);
    float* sum = w_.sum + panel * w_.dimensions * lanes;
    for (std::int64_t j = 0; j < w_.dimensions; ++j)
      simd::store(simd::load<width>(sum + j * lanes) * shrink, sum + j * lanes);
  }

  /// Divides the sums by the weights and writes them as pairs of bf16 over the queries, which are
  /// no longer needed. Adding 0 turns -0 into 0; the sign of a zero sum would otherwise depend on
  /// masked keys.
  TETRARCH_INLINE void divide(std::int64_t panel) {
    const Floats weight = simd::load<width>(w_.weight + panel * lanes),
                 zero = simd::splat<width>(0);
    const float* sum = w_.sum + panel * w_.dimensions * lanes;
    std::uint32_t* to = w_.query + panel * w_.dimensions / 2 * lanes;
    for (std::int64_t pair = 0; pair < w_.dimensions / 2; ++pair, sum += 2 * lanes, to += lanes)
      Tiles::pair(with_one_nan(simd::load<width>(sum) / weight + zero),
                  with_one_nan(simd::load<width>(sum + lanes) / weight + zero), to);
  }

  const AttentionArgs& args_;
  const Item& item_;
  std::int64_t panels_;
  TileAttentionSpace w_;
  std::vector<std::int64_t>& bad_;
  Tiles tiles_;
};

}  // namespace tetrarch::backend::cpu
