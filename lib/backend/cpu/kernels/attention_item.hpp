/// The work items of attention. An item is a tile of queries, of all heads that share a kv head.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "backend/compute.hpp"
#include "backend/cpu/kernels/bf16_kernels.hpp"

namespace tetrarch::backend::cpu {

/// Number of keys of a block. Blocks are counted from position 0 of the sequence.
constexpr std::int64_t block_keys = 128;

struct Item {
  const Segment* segment;
  std::int64_t kv_head;
  std::int64_t begin, end;  // the range of its queries, counted in the segment

  std::int64_t first_position() const { return segment->first_position + begin; }
  std::int64_t last_position() const { return segment->first_position + end - 1; }
};

struct AttentionArgs {
  AttentionShape shape;
  Tensor query, key, value, out;
  std::int64_t shift;  // for a test that must fail: blocks begin at 128 b - shift
  std::span<const Item> items;

  std::int64_t group() const { return shape.num_heads / shape.num_kv_heads; }
  /// The number of keys of the block at first_key up to `position`, at most a whole block.
  static std::int64_t keys_up_to(std::int64_t position, std::int64_t first_key) {
    return std::min(block_keys, position - first_key + 1);
  }
  /// The first and the last block that the queries of the item attend to.
  std::int64_t first_block(const Item& item) const {
    const std::int64_t oldest =
        shape.window == 0 ? 0 : std::max<std::int64_t>(0, item.first_position() - shape.window + 1);
    return (oldest + shift) / block_keys;
  }
  std::int64_t last_block(const Item& item) const {
    return (item.last_position() + shift) / block_keys;
  }
};

/// The last query position that attends to `key`. Queries after it have the key outside their
/// window.
inline std::int32_t last_to_see(std::int64_t key, std::int64_t window) {
  return static_cast<std::int32_t>(
      std::min<std::int64_t>(key + window - 1, std::numeric_limits<std::int32_t>::max()));
}

/// Loads queries of bf16 as columns. Column c of the item is lane c % 16 of panel c / 16; it holds
/// query begin + c / group of head kv_head * group + c % group.
/// query [panels][pairs][16]: pairs of dimensions; 0 beyond the head's dimensions
/// position [panels][16]: position of each query; -1 where there is no query
void fill_query_pairs(const AttentionArgs& args, const Item& item, std::int64_t panels,
                      std::int64_t pairs, std::uint32_t* query, std::int32_t* position);

/// Writes results of bf16 to args.out. `from` has the layout of `query` in fill_query_pairs().
void write_pairs(const AttentionArgs& args, const Item& item, std::int64_t pairs,
                 const std::uint32_t* from);

/// Makes the results of all queries NaN that attend to a key in `bad`: their weight, which the sums
/// are divided by, becomes NaN.
/// position, weight: those of `count` queries
void spoil_queries(const std::int32_t* position, float* weight, std::int64_t count,
                   std::int64_t window, std::span<const std::int64_t> bad);

/// Attention of one item in bf16, by AVX512-BF16. Probabilities are rounded to bf16 before they are
/// multiplied with the values; the sum of the probabilities is not rounded.
void attend_item_bf16(const AttentionArgs& args, const Item& item);

/// Attention of one item in bf16, by tiles. Its bits differ from those of attend_item_bf16().
void attend_item_amx(const AttentionArgs& args, const Item& item, TileKind tiles);

}  // namespace tetrarch::backend::cpu
