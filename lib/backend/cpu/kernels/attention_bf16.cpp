// Attention of bf16 by AVX512-BF16: the algorithm of attention.cpp, with instructions that add two
// products at a time.
//
// A panel holds sixteen queries, one in each lane. Scores are chains over pairs of dimensions, and
// sums are chains over pairs of keys, within one lane. Keys after the last query of a panel are
// skipped in groups of eight: their probability is 0, and adding 0 times a finite value changes
// nothing.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <limits>

#include <immintrin.h>

#include "backend/cpu/kernels/attention_item.hpp"
#include "backend/cpu/kernels/bf16_target.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/simd.hpp"
#include "base/shape.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::bf16;
using simd::lanes;

constexpr int tile_rows = 16;  // rows of accumulators: keys or dimensions
constexpr int half_tile_rows = 8;
constexpr std::int64_t key_pairs = block_keys / 2;
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float log2_e = 1.44269504088896341f;

/// Permutations of 32 bf16 values. `halves` interleaves the two halves of one register. `lower`
/// interleaves the lower halves of two registers, `upper` the upper halves.
struct Orders {
  alignas(64) std::uint16_t halves[32], lower[32], upper[32];
};
constexpr Orders orders = [] {
  Orders to{};
  for (int i = 0; i < 32; ++i) {
    to.halves[i] = static_cast<std::uint16_t>(i / 2 + i % 2 * 16);
    to.lower[i] = static_cast<std::uint16_t>(i / 2 + i % 2 * 32);
    to.upper[i] = static_cast<std::uint16_t>(i / 2 + i % 2 * 32 + 16);
  }
  return to;
}();

/// The working memory of one work item; a pair of bf16 is one u32.
struct Workspace {
  std::int64_t depth;          // pairs of dimensions
  std::uint32_t* key;          // [128][depth]
  std::uint32_t* value;        // [64 pairs of keys][2 * depth]
  std::uint32_t* query;        // [panels][depth][16]
  std::uint32_t* probability;  // [64][16]
  float* score;                // [128][16]
  float* sum;                  // [panels][2 * depth][16]
  float* max;                  // [panels][16], largest score * log2(e)
  float* weight;               // [panels][16]
  std::int32_t* position;      // [panels][16]; -1: no query

  static std::int64_t floats(std::int64_t depth, std::int64_t panels) {
    return block_keys * depth * 2 + (3 * key_pairs + panels * (3 * depth + 3)) * lanes;
  }
  Workspace(float* memory, std::int64_t pairs, std::int64_t panels) : depth(pairs) {
    const auto take = [&](auto*& part, std::int64_t count) {
      part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(memory);
      memory += count;
    };
    take(query, panels * depth * lanes);
    take(sum, panels * 2 * depth * lanes);
    take(score, block_keys * lanes);
    take(probability, key_pairs * lanes);
    take(max, panels * lanes);
    take(weight, panels * lanes);
    take(position, panels * lanes);
    take(key, block_keys * depth);
    take(value, block_keys * depth);
  }
};

const bf16* row_of(const Tensor& from, const Item& item, std::int64_t position, std::int64_t d) {
  return static_cast<const bf16*>(from.data) + (item.segment->key_row + position) * from.columns +
         item.kv_head * d;
}

__mmask16 first_lanes(std::int64_t count) {
  return static_cast<__mmask16>(count >= lanes ? 0xffff : count <= 0 ? 0 : (1u << count) - 1);
}

/// Loads the first min(count, 32) values of a row; the other lanes are 0.
TETRARCH_BF16_INLINE __m512i load_row(const bf16* row, std::int64_t count) {
  const auto mask = static_cast<__mmask32>(count >= 32 ? ~0u : (1u << count) - 1);
  return _mm512_maskz_loadu_epi16(mask, row);
}

/// True if all d values of a row are finite.
TETRARCH_BF16_INLINE bool is_finite(const bf16* row, std::int64_t d) {
  const __m512i exponent = _mm512_set1_epi16(0x7f80);
  __mmask32 bad = 0;
  for (std::int64_t c = 0; c < d; c += 32)
    bad |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(load_row(row + c, d - c), exponent), exponent);
  return bad == 0;
}

/// Copies the first `num_keys` keys of a block. Missing rows and rows that are not finite become 0;
/// positions of the latter are added to `bad`.
TETRARCH_BF16 void fill_keys(const AttentionArgs& args, const Item& item, std::int64_t first_key,
                             std::int64_t num_keys, const Workspace& w,
                             std::vector<std::int64_t>& bad) {
  const std::int64_t d = args.shape.head_size;
  for (std::int64_t j = 0; j < num_keys; ++j) {
    std::uint32_t* to = w.key + j * w.depth;
    const std::int64_t key = first_key + j;
    std::memset(to, 0, static_cast<std::size_t>(w.depth) * 4);
    if (key < 0 || key > item.last_position()) continue;
    const bf16* row = row_of(args.key, item, key, d);
    if (is_finite(row, d))
      std::memcpy(to, row, static_cast<std::size_t>(d) * 2);
    else
      bad.push_back(key);
  }
}

/// Copies the values of the same keys; the values of keys 2 p and 2 p + 1 are interleaved. Rows as
/// in fill_keys().
TETRARCH_BF16 void fill_values(const AttentionArgs& args, const Item& item, std::int64_t first_key,
                               std::int64_t num_keys, const Workspace& w,
                               std::vector<std::int64_t>& bad) {
  const std::int64_t d = args.shape.head_size;
  const __m512i lower = _mm512_load_si512(orders.lower), upper = _mm512_load_si512(orders.upper);
  const auto usable = [&](std::int64_t key) -> const bf16* {
    if (key < 0 || key > item.last_position()) return nullptr;
    return row_of(args.value, item, key, d);
  };
  for (std::int64_t pair = 0; pair < num_keys / 2; ++pair) {
    const bf16* rows[2];
    for (int i = 0; i < 2; ++i) {
      rows[i] = usable(first_key + 2 * pair + i);
      if (rows[i] != nullptr && !is_finite(rows[i], d)) {
        bad.push_back(first_key + 2 * pair + i);
        rows[i] = nullptr;
      }
    }
    std::uint32_t* to = w.value + pair * 2 * w.depth;
    for (std::int64_t c = 0; c < d; c += 32) {
      const __m512i a = rows[0] ? load_row(rows[0] + c, d - c) : _mm512_setzero_si512();
      const __m512i b = rows[1] ? load_row(rows[1] + c, d - c) : _mm512_setzero_si512();
      const std::int64_t left = 2 * w.depth - c;
      _mm512_mask_storeu_epi32(to + c, first_lanes(left), _mm512_permutex2var_epi16(a, lower, b));
      _mm512_mask_storeu_epi32(to + c + lanes, first_lanes(left - lanes),
                               _mm512_permutex2var_epi16(a, upper, b));
    }
  }
}

/// The arguments of c[r][16] (+)= sum over pairs of a[r][pair] b[pair][16]. In `a`, rows are
/// row_stride u32 apart and pairs pair_stride u32.
struct TileArgs {
  const std::uint32_t* a;
  std::int64_t row_stride, pair_stride;
  const std::uint32_t* b;
  std::int64_t pairs;
  float* c;
};

template <int Rows, bool is_first>
TETRARCH_BF16_INLINE void multiply_tile(const TileArgs& t) {
  __m512 sum[Rows];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
    sum[r] = is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(t.c + r * lanes);
  const std::uint32_t* a = t.a;
  const std::uint32_t* b = t.b;
  for (std::int64_t pair = 0; pair < t.pairs; ++pair, a += t.pair_stride, b += lanes) {
    const __m512bh column = (__m512bh)_mm512_loadu_si512(b);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
      sum[r] = _mm512_dpbf16_ps(
          sum[r], (__m512bh)_mm512_set1_epi32(static_cast<int>(a[r * t.row_stride])), column);
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
    _mm512_storeu_ps(t.c + r * lanes, sum[r]);
}

template <bool is_first>
TETRARCH_BF16_INLINE void multiply_rows(TileArgs t, std::int64_t rows) {
  const auto pass = [&](std::int64_t done) {
    t.a += done * t.row_stride;
    t.c += done * lanes;
    rows -= done;
  };
  for (; rows >= tile_rows; pass(tile_rows))
    multiply_tile<tile_rows, is_first>(t);
  for (; rows >= half_tile_rows; pass(half_tile_rows))
    multiply_tile<half_tile_rows, is_first>(t);
  for (; rows > 0; pass(1))
    multiply_tile<1, is_first>(t);
}

/// The number of keys of the block at first_key up to `position`, rounded up to half tiles.
std::int64_t keys_up_to(std::int64_t position, std::int64_t first_key) {
  return base::round_up(AttentionArgs::keys_up_to(position, first_key), half_tile_rows);
}

/// 2^x for x <= 0, with an error below 2 ulp. The result is 0 for x below -150. The polynomial is a
/// minimax approximation on [-1/2, 1/2].
TETRARCH_BF16_INLINE __m512 exp2_of(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-300.0f), x);  // keeps NaN
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(0.0013276472f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.009675541f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.05550713f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.2402212f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.69314694f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

/// Sets the scores of keys that a lane may not attend to to -infinity.
TETRARCH_BF16_INLINE void mask_scores(const Workspace& w, std::int64_t num_keys,
                                      std::int64_t first_key, std::int64_t window,
                                      __m512i position) {
  const __m512 hidden = _mm512_set1_ps(-infinity);
  for (std::int64_t j = 0; j < num_keys; ++j) {
    const auto key = static_cast<std::int32_t>(first_key + j);
    __mmask16 is_hidden = _mm512_cmplt_epi32_mask(position, _mm512_set1_epi32(key));
    if (window > 0) {
      is_hidden |= _mm512_cmpgt_epi32_mask(position, _mm512_set1_epi32(last_to_see(key, window)));
    }
    if (key < 0) is_hidden = 0xffff;
    float* score = w.score + j * lanes;
    _mm512_storeu_ps(score, _mm512_mask_mov_ps(_mm512_loadu_ps(score), is_hidden, hidden));
  }
}

/// Turns scores into probabilities, and updates the maximum, the weight and the sums of the panel.
TETRARCH_BF16_INLINE void soften(const Workspace& w, std::int64_t panel, std::int64_t num_keys,
                                 float scale) {
  __m512 most = _mm512_set1_ps(-infinity);
  for (std::int64_t j = 0; j < num_keys; ++j)
    most = _mm512_max_ps(_mm512_loadu_ps(w.score + j * lanes), most);
  const __m512 factor = _mm512_set1_ps(scale * log2_e);
  const __m512 old_max = _mm512_loadu_ps(w.max + panel * lanes);
  const __m512 new_max = _mm512_max_ps(_mm512_mul_ps(most, factor), old_max);
  // a lane without any key so far does not change: 2^(-inf - 0) = 0
  const __mmask16 is_blind = _mm512_cmp_ps_mask(new_max, _mm512_set1_ps(-infinity), _CMP_EQ_OQ);
  const __m512 base = _mm512_mask_mov_ps(new_max, is_blind, _mm512_setzero_ps());
  const __m512 shrink = exp2_of(_mm512_sub_ps(old_max, base));
  __m512 weight = _mm512_mul_ps(_mm512_loadu_ps(w.weight + panel * lanes), shrink);
  const __m512i order = _mm512_load_si512(orders.halves);
  for (std::int64_t j = 0; j < num_keys; j += 2) {
    const float* score = w.score + j * lanes;
    const __m512 a = exp2_of(_mm512_fmsub_ps(_mm512_loadu_ps(score), factor, base));
    const __m512 b = exp2_of(_mm512_fmsub_ps(_mm512_loadu_ps(score + lanes), factor, base));
    weight = _mm512_add_ps(_mm512_add_ps(weight, a), b);
    _mm512_storeu_si512(w.probability + j / 2 * lanes,
                        _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(b, a)));
  }
  _mm512_storeu_ps(w.max + panel * lanes, new_max);
  _mm512_storeu_ps(w.weight + panel * lanes, weight);
  float* sum = w.sum + panel * 2 * w.depth * lanes;
  for (std::int64_t j = 0; j < 2 * w.depth; ++j)
    _mm512_storeu_ps(sum + j * lanes, _mm512_mul_ps(_mm512_loadu_ps(sum + j * lanes), shrink));
}

/// Attention of one panel of queries to one block of keys.
TETRARCH_BF16 void attend_block(const AttentionArgs& args, const Workspace& w, std::int64_t panel,
                                std::int64_t first_key) {
  const std::int64_t window = args.shape.window;
  const std::int32_t* position = w.position + panel * lanes;
  const auto [least, most] = std::minmax_element(position, position + lanes);
  const std::int64_t lowest = *least, highest = *most;
  if (highest < first_key) return;
  const std::int64_t num_keys = keys_up_to(highest, first_key);
  const bool sees_all = first_key >= 0 && first_key + num_keys - 1 <= lowest &&
                        (window == 0 || first_key > highest - window);

  multiply_rows<true>({w.key, w.depth, 1, w.query + panel * w.depth * lanes, w.depth, w.score},
                      num_keys);
  if (!sees_all) mask_scores(w, num_keys, first_key, window, _mm512_loadu_si512(position));
  soften(w, panel, num_keys, args.shape.scale);
  multiply_rows<false>(
      {w.value, 1, 2 * w.depth, w.probability, num_keys / 2, w.sum + panel * 2 * w.depth * lanes},
      args.shape.head_size);
}

/// Divides the sums by the weights and writes them as pairs of bf16 over the queries, which are no
/// longer needed. Adding 0 turns -0 into 0; the sign of a zero sum would otherwise depend on masked
/// keys.
TETRARCH_BF16 void divide(const Workspace& w, std::int64_t panel) {
  const __m512i order = _mm512_load_si512(orders.halves);
  const __m512 weight = _mm512_loadu_ps(w.weight + panel * lanes), zero = _mm512_setzero_ps();
  const float* sum = w.sum + panel * 2 * w.depth * lanes;
  std::uint32_t* to = w.query + panel * w.depth * lanes;
  for (std::int64_t pair = 0; pair < w.depth; ++pair, sum += 2 * lanes, to += lanes) {
    const __m512 a = _mm512_add_ps(_mm512_div_ps(_mm512_loadu_ps(sum), weight), zero);
    const __m512 b = _mm512_add_ps(_mm512_div_ps(_mm512_loadu_ps(sum + lanes), weight), zero);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(b, a)));
  }
}

}  // namespace

void attend_item_bf16(const AttentionArgs& args, const Item& item) {
  const std::int64_t depth = base::ceil_div(args.shape.head_size, 2);
  const std::int64_t panels = base::ceil_div((item.end - item.begin) * args.group(), lanes);
  static thread_local Scratch scratch;
  // positions of the keys of this block that are not finite
  static thread_local std::vector<std::int64_t> bad;
  const Workspace w(scratch.floats(Workspace::floats(depth, panels)), depth, panels);
  fill_query_pairs(args, item, panels, depth, w.query, w.position);
  std::fill_n(w.sum, panels * 2 * depth * lanes, 0.0f);
  std::fill_n(w.max, panels * lanes, -infinity);
  std::fill_n(w.weight, panels * lanes, 0.0f);

  for (std::int64_t block = args.first_block(item); block <= args.last_block(item); ++block) {
    const std::int64_t first_key = block * block_keys - args.shift;
    bad.clear();
    const std::int64_t num_keys = keys_up_to(item.last_position(), first_key);
    fill_keys(args, item, first_key, num_keys, w, bad);
    fill_values(args, item, first_key, num_keys, w, bad);
    for (std::int64_t panel = 0; panel < panels; ++panel)
      attend_block(args, w, panel, first_key);
    spoil_queries(w.position, w.weight, panels * lanes, args.shape.window, bad);
  }
  for (std::int64_t panel = 0; panel < panels; ++panel)
    divide(w, panel);
  write_pairs(args, item, depth, w.query);
}

}  // namespace tetrarch::backend::cpu
