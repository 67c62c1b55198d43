// Causal attention over blocks of 128 keys, with a running maximum per query.
//
// A panel holds sixteen queries, one in each lane. Every step (scores, maximum, exponentials, sums)
// is a chain over keys or over dimensions within one lane. Therefore the bits of a query do not
// depend on its neighbours. A work item is a tile of queries, of all heads that share a kv head.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <vector>

#include "backend/cpu/kernels/attention_item.hpp"
#include "backend/cpu/kernels/bf16_kernels.hpp"
#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/parallel.hpp"
#include "backend/cpu/kernels/testing.hpp"
#include "backend/cpu/kernels/tile.hpp"
#include "base/shape.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::bf16;
using base::DType;
using simd::lanes;

// approximate number of (query, head) pairs of a work item
constexpr std::int64_t tile_queries = 128;
constexpr float infinity = std::numeric_limits<float>::infinity();

std::atomic<std::int64_t> block_shift{0};

/// The working memory of one work item; sizes in floats.
struct Workspace {
  float* key;     // [128][d]
  float* value;   // [128][d]
  float* query;   // [panels][d][16]
  float* sum;     // [panels][d][16]
  float* score;   // [128][16]
  float* max;     // [panels][16]
  float* weight;  // [panels][16]
  float* place;   // [panels][16] positions, as i32
  static std::int64_t floats(std::int64_t d, std::int64_t panels) {
    return 2 * block_keys * d + panels * (2 * d + 3) * lanes + block_keys * lanes;
  }
  Workspace(float* memory, std::int64_t d, std::int64_t panels)
      : key(memory),
        value(key + block_keys * d),
        query(value + block_keys * d),
        sum(query + panels * d * lanes),
        score(sum + panels * d * lanes),
        max(score + block_keys * lanes),
        weight(max + panels * lanes),
        place(weight + panels * lanes) {}
};

/// Copies `num_keys` rows of keys or values as f32. Rows before position 0 become 0.
template <int Width, class T>
TETRARCH_INLINE void fill_block(const Tensor& from, const Segment& segment, std::int64_t column,
                                std::int64_t d, std::int64_t first_key, std::int64_t num_keys,
                                float* to) {
  for (std::int64_t j = 0; j < num_keys; ++j, to += d) {
    const std::int64_t position = first_key + j;
    if (position < 0) {
      std::fill_n(to, d, 0.0f);
      continue;
    }
    const T* row =
        static_cast<const T*>(from.data) + (segment.key_row + position) * from.columns + column;
    std::int64_t c = 0;
    for (; c + lanes <= d; c += lanes)
      simd::store(simd::load<Width>(row + c), to + c);
    if (c < d) simd::store_some(simd::load_some<Width>(row + c, d - c), to + c, d - c);
  }
}

/// Replaces rows that are not finite by zeros, and adds their positions to `bad`. Without this, 0
/// times such a value would be NaN in queries that do not attend to the row.
template <int Width>
TETRARCH_INLINE void take_out_bad(float* rows, std::int64_t d, std::int64_t first_key,
                                  std::int64_t num_keys, std::vector<std::int64_t>& bad) {
  for (std::int64_t j = 0; j < num_keys; ++j, rows += d) {
    auto sum = simd::splat<Width>(0);
    for (std::int64_t c = 0; c < d; c += lanes) {
      const auto value = simd::load_some<Width>(rows + c, d - c);
      sum = sum + (value - value);
    }
    if (simd::sum_of_lanes(sum) == 0) continue;
    std::fill_n(rows, d, 0.0f);
    bad.push_back(first_key + j);
  }
}

/// Loads the queries. Column c of the item is query begin + c / group of head kv_head * group + c %
/// group.
template <class T>
TETRARCH_INLINE void fill_queries(const AttentionArgs& args, const Item& item, std::int64_t group,
                                  std::int64_t panels, const Workspace& w) {
  const std::int64_t d = args.shape.head_size, columns = (item.end - item.begin) * group;
  auto* place = reinterpret_cast<std::int32_t*>(w.place);
  std::fill_n(w.query, panels * d * lanes, 0.0f);
  for (std::int64_t c = 0; c < panels * lanes; ++c) {
    const std::int64_t query = item.begin + c / group;
    place[c] = c < columns ? static_cast<std::int32_t>(item.segment->first_position + query) : -1;
    if (c >= columns) continue;
    const std::int64_t head = item.kv_head * group + c % group;
    const T* from = static_cast<const T*>(args.query.data) +
                    (item.segment->row + query) * args.query.columns + head * d;
    float* to = w.query + c / lanes * d * lanes + c % lanes;
    for (std::int64_t j = 0; j < d; ++j) {
      if constexpr (sizeof(T) == 2)
        to[j * lanes] = base::to_float(from[j]);
      else
        to[j * lanes] = from[j];
    }
  }
}

template <int Width, class A>
TETRARCH_INLINE void multiply_rows(A a, std::int64_t rows, TileOperands t) {
  constexpr int R = tile_rows<Width>;
  float* const c = t.c;
  std::int64_t r = 0;
  for (; r + R <= rows; r += R) {
    t.c = c + r * lanes;
    multiply_tile<Width, R, 1>(a.below(r), t);
  }
  if (r < rows) {
    t.c = c + r * lanes;
    multiply_rest<Width, 1>(rows - r, a.below(r), t);
  }
}

/// Scales the scores, sets the scores of keys that a lane may not attend to to -infinity, and
/// returns the maximum of each lane.
template <int Width>
TETRARCH_INLINE simd::F32<Width> mask_scores(float* score, std::int64_t num_keys, float scale,
                                             std::int64_t window, std::int64_t first_key,
                                             simd::I32<Width> place, bool sees_all) {
  auto most = simd::splat<Width>(-infinity);
  const auto factor = simd::splat<Width>(scale), hidden = simd::splat<Width>(-infinity);
  if (sees_all) {
    for (std::int64_t j = 0; j < num_keys; ++j) {
      const auto value = simd::load<Width>(score + j * lanes) * factor;
      simd::store(value, score + j * lanes);
      most = simd::max(most, value);
    }
    return most;
  }
  for (std::int64_t j = 0; j < num_keys; ++j) {
    const std::int64_t key = first_key + j;
    auto value = simd::load<Width>(score + j * lanes) * factor;
    value = select(place < simd::splat_int<Width>(static_cast<std::int32_t>(key)), hidden, value);
    if (window > 0)
      value = select(place > simd::splat_int<Width>(last_to_see(key, window)), hidden, value);
    if (key < 0) value = hidden;
    simd::store(value, score + j * lanes);
    most = simd::max(most, value);
  }
  return most;
}

/// Attention of one panel of queries to one block of keys. Keys after the last query of the panel
/// are skipped. Their weights would be 0, and adding 0 times a finite value can change only the
/// sign of a zero; write_out() removes that sign.
template <int Width>
TETRARCH_INLINE void attend_block(const AttentionArgs& args, const Workspace& w, std::int64_t panel,
                                  std::int64_t first_key) {
  const std::int64_t d = args.shape.head_size, window = args.shape.window;
  const auto* place = reinterpret_cast<const std::int32_t*>(w.place) + panel * lanes;
  std::int64_t lowest = place[0], highest = place[0];
  for (int i = 1; i < lanes; ++i) {
    lowest = std::min<std::int64_t>(lowest, place[i]);
    highest = std::max<std::int64_t>(highest, place[i]);
  }
  if (highest < first_key) return;
  const std::int64_t num_keys = args.keys_up_to(highest, first_key);
  const bool sees_all = first_key >= 0 && first_key + num_keys - 1 <= lowest &&
                        (window == 0 || first_key > highest - window);

  multiply_rows<Width>(StridedRows{w.key, d}, num_keys,
                       {d, w.query + panel * d * lanes, 0, w.score, 0, true});
  const auto most = mask_scores<Width>(w.score, num_keys, args.shape.scale, window, first_key,
                                       simd::load<Width>(place), sees_all);

  const auto old_max = simd::load<Width>(w.max + panel * lanes);
  const auto new_max = simd::max(old_max, most);
  // a lane without any key so far does not change: exp(-inf - 0) = 0
  const auto base =
      select(new_max == simd::splat<Width>(-infinity), simd::splat<Width>(0), new_max);
  const auto shrink = simd::exp(old_max - base);
  auto weight = simd::load<Width>(w.weight + panel * lanes) * shrink;
  for (std::int64_t j = 0; j < num_keys; ++j) {
    const auto value = simd::exp(simd::load<Width>(w.score + j * lanes) - base);
    simd::store(value, w.score + j * lanes);
    weight = weight + value;
  }
  simd::store(new_max, w.max + panel * lanes);
  simd::store(weight, w.weight + panel * lanes);

  float* sum = w.sum + panel * d * lanes;
  for (std::int64_t j = 0; j < d; ++j)
    simd::store(simd::load<Width>(sum + j * lanes) * shrink, sum + j * lanes);
  multiply_rows<Width>(StridedColumns{w.value, d}, d, {num_keys, w.score, 0, sum, 0, false});
}

/// Divides the sums by the weights and writes them to `out`. Adding 0 turns -0 into 0; the sign of
/// a zero sum would otherwise depend on masked keys.
template <int Width, class T>
TETRARCH_INLINE void write_out(const AttentionArgs& args, const Item& item, std::int64_t group,
                               std::int64_t panels, const Workspace& w) {
  const std::int64_t d = args.shape.head_size, columns = (item.end - item.begin) * group;
  const std::int64_t slice_heads = args.shape.num_heads / args.out.slices;
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    float* sum = w.sum + panel * d * lanes;
    const auto weight = simd::load<Width>(w.weight + panel * lanes);
    for (std::int64_t j = 0; j < d; ++j)
      simd::store(simd::load<Width>(sum + j * lanes) / weight + simd::splat<Width>(0),
                  sum + j * lanes);
  }
  for (std::int64_t c = 0; c < columns; ++c) {
    const std::int64_t head = item.kv_head * group + c % group;
    const std::int64_t row =
        head / slice_heads * args.out.rows + item.segment->row + item.begin + c / group;
    T* to = static_cast<T*>(args.out.data) + row * args.out.columns + head % slice_heads * d;
    const float* from = w.sum + c / lanes * d * lanes + c % lanes;
    for (std::int64_t j = 0; j < d; ++j) {
      if constexpr (sizeof(T) == 2)
        to[j] = base::to_bf16(from[j * lanes]);
      else
        to[j] = from[j * lanes];
    }
  }
}

template <int Width, class T>
TETRARCH_INLINE void attend_item(const AttentionArgs& args, const Item& item) {
  const std::int64_t d = args.shape.head_size;
  const std::int64_t group = args.group();
  const std::int64_t panels = base::ceil_div((item.end - item.begin) * group, lanes);
  static thread_local Scratch scratch;
  // positions of the keys of this block that are not finite
  static thread_local std::vector<std::int64_t> bad;
  const Workspace w(scratch.floats(Workspace::floats(d, panels)), d, panels);
  fill_queries<T>(args, item, group, panels, w);
  std::fill_n(w.sum, panels * d * lanes, 0.0f);
  std::fill_n(w.max, panels * lanes, -infinity);
  std::fill_n(w.weight, panels * lanes, 0.0f);

  for (std::int64_t block = args.first_block(item); block <= args.last_block(item); ++block) {
    const std::int64_t first_key = block * block_keys - args.shift;
    const std::int64_t num_keys = args.keys_up_to(item.last_position(), first_key);
    bad.clear();
    for (const auto& [from, to] : {std::pair{&args.key, w.key}, std::pair{&args.value, w.value}}) {
      fill_block<Width, T>(*from, *item.segment, item.kv_head * d, d, first_key, num_keys, to);
      take_out_bad<Width>(to, d, first_key, num_keys, bad);
    }
    for (std::int64_t panel = 0; panel < panels; ++panel)
      attend_block<Width>(args, w, panel, first_key);
    spoil_queries(reinterpret_cast<const std::int32_t*>(w.place), w.weight, panels * lanes,
                  args.shape.window, bad);
  }
  write_out<Width, T>(args, item, group, panels, w);
}

template <int Width>
TETRARCH_INLINE void attend_items_body(const AttentionArgs& args, std::int64_t begin,
                                       std::int64_t end) {
  const Bf16Kernels kernels = active_bf16_kernels();
  for (std::int64_t i = begin; i < end; ++i) {
    const Item& item = args.items[static_cast<std::size_t>(i)];
    if (args.query.dtype == DType::f32)
      attend_item<Width, float>(args, item);
    else if (kernels == Bf16Kernels::avx512_bf16)
      attend_item_bf16(args, item);
    else if (kernels == Bf16Kernels::amx)
      attend_item_amx(args, item, TileKind::amx);
    else if (kernels == Bf16Kernels::amx_software)
      attend_item_amx(args, item, TileKind::software);
    else
      attend_item<Width, bf16>(args, item);
  }
}
TETRARCH_KERNEL(attend_items, AttentionArgs)

}  // namespace

void attention(const AttentionShape& shape, const Tensor& query, const Tensor& key,
               const Tensor& value, std::span<const Segment> segments, const Tensor& out) {
  static thread_local std::vector<Item> items;
  items.clear();
  std::int64_t cost = 0;
  const std::int64_t group = shape.num_heads / shape.num_kv_heads;
  const std::int64_t tile = std::max<std::int64_t>(1, tile_queries / group);
  for (const Segment& segment : segments) {
    cost += segment.count * (segment.first_position + segment.count) * query.columns / lanes;
    for (std::int64_t head = 0; head < shape.num_kv_heads; ++head)
      // the items with most keys first
      for (std::int64_t end = segment.count; end > 0; end -= tile)
        items.push_back({&segment, head, std::max<std::int64_t>(0, end - tile), end});
  }
  const AttentionArgs args{shape, query, key, value, out, block_shift.load(), items};
  for_items(static_cast<std::int64_t>(items.size()), cost,
            [&](std::int64_t i) { attend_items(args, i, i + 1); });
}

void testing::set_attention_block_shift(std::int64_t shift) {
  base::expects(shift >= 0, "a shift that is not negative");
  block_shift = shift;
}

}  // namespace tetrarch::backend::cpu
