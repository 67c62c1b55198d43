/// What one work item of attention is: a tile of queries of all heads that share a kv head.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "backend/compute.hpp"

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

/// Queries that see a bad key are NaN, by the weight that they are divided by.
/// position, weight: of `count` queries
void spoil_queries(const std::int32_t* position, float* weight, std::int64_t count,
                   std::int64_t window, std::span<const std::int64_t> bad);

/// Items of bf16 with the products of AVX512-BF16 (simd::has_bf16_products): probabilities are
/// rounded to bf16 before they meet the values, their sum is not.
void attend_item_bf16(const AttentionArgs& args, const Item& item);

}  // namespace tetrarch::backend::cpu
