/// What one work item of attention is: a tile of queries of all heads that share a kv head.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "backend/compute.hpp"
#include "backend/cpu/kernels/bf16_kernels.hpp"

namespace tetrarch::backend::cpu {

/// Keys go in blocks of this many, counted from the sequence's own position 0.
constexpr std::int64_t block_keys = 128;

struct Item {
  const Segment* segment;
  std::int64_t kv_head;
  std::int64_t begin, end;  // queries of the segment

  std::int64_t first_position() const { return segment->first_position + begin; }
  std::int64_t last_position() const { return segment->first_position + end - 1; }
};

struct AttentionArgs {
  AttentionShape shape;
  Tensor query, key, value, out;
  std::int64_t shift;  // negative control: blocks begin at 128 b - shift
  std::span<const Item> items;

  std::int64_t group() const { return shape.num_heads / shape.num_kv_heads; }
  /// Keys of the block at first_key up to the one at a position in it, or behind it.
  static std::int64_t keys_up_to(std::int64_t position, std::int64_t first_key) {
    return std::min(block_keys, position - first_key + 1);
  }
  /// The first block that a query of the item can see, and the last.
  std::int64_t first_block(const Item& item) const {
    const std::int64_t oldest =
        shape.window == 0 ? 0 : std::max<std::int64_t>(0, item.first_position() - shape.window + 1);
    return (oldest + shift) / block_keys;
  }
  std::int64_t last_block(const Item& item) const {
    return (item.last_position() + shift) / block_keys;
  }
};

/// Positions after this one have `key` outside their window.
inline std::int32_t last_to_see(std::int64_t key, std::int64_t window) {
  return static_cast<std::int32_t>(
      std::min<std::int64_t>(key + window - 1, std::numeric_limits<std::int32_t>::max()));
}

/// Queries of bf16 as columns: column c of the item, lane c % 16 of panel c / 16, is query begin +
/// c / group of head kv_head * group + c % group. query [panels][pairs][16]: pairs of dimensions, 0
/// beyond the head's; position [panels][16]: -1 where there is no query
void fill_query_pairs(const AttentionArgs& args, const Item& item, std::int64_t panels,
                      std::int64_t pairs, std::uint32_t* query, std::int32_t* position);

/// The converse of results: `from` as query above, to args.out.
void write_pairs(const AttentionArgs& args, const Item& item, std::int64_t pairs,
                 const std::uint32_t* from);

/// Queries that see a bad key are NaN, by the weight that they are divided by.
/// position, weight: of `count` queries
void spoil_queries(const std::int32_t* position, float* weight, std::int64_t count,
                   std::int64_t window, std::span<const std::int64_t> bad);

/// Items of bf16 with the products of AVX512-BF16: probabilities are rounded to bf16 before they
/// meet the values, their sum is not.
void attend_item_bf16(const AttentionArgs& args, const Item& item);

/// The same by tiles, with other bits.
void attend_item_amx(const AttentionArgs& args, const Item& item, TileKind tiles);

}  // namespace tetrarch::backend::cpu
