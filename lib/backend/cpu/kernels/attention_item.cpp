// Reads the queries and writes the results of a work item; used by all attention kernels.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/attention_item.hpp"

#include <cstring>

#include "backend/cpu/kernels/simd.hpp"

namespace tetrarch::backend::cpu {

using base::bf16;
using simd::lanes;

void fill_query_pairs(const AttentionArgs& args, const Item& item, std::int64_t panels,
                      std::int64_t pairs, std::uint32_t* query, std::int32_t* position) {
  const std::int64_t d = args.shape.head_size, group = args.group();
  const std::int64_t columns = (item.end - item.begin) * group;
  std::fill_n(query, panels * pairs * lanes, 0u);
  for (std::int64_t c = 0; c < panels * lanes; ++c) {
    const std::int64_t row = item.begin + c / group;
    position[c] = c < columns ? static_cast<std::int32_t>(item.segment->first_position + row) : -1;
    if (c >= columns) continue;
    const bf16* from = static_cast<const bf16*>(args.query.data) +
                       (item.segment->row + row) * args.query.columns +
                       (item.kv_head * group + c % group) * d;
    std::uint32_t* to = query + c / lanes * pairs * lanes + c % lanes;
    for (std::int64_t j = 0; j + 1 < d; j += 2)
      std::memcpy(to + j / 2 * lanes, from + j, sizeof *to);
    if (d % 2 != 0) to[d / 2 * lanes] = from[d - 1].bits;
  }
}

void write_pairs(const AttentionArgs& args, const Item& item, std::int64_t pairs,
                 const std::uint32_t* from) {
  const std::int64_t d = args.shape.head_size, group = args.group();
  const std::int64_t columns = (item.end - item.begin) * group;
  const std::int64_t slice_heads = args.shape.num_heads / args.out.slices;
  for (std::int64_t c = 0; c < columns; ++c) {
    const std::int64_t head = item.kv_head * group + c % group;
    const std::int64_t row =
        head / slice_heads * args.out.rows + item.segment->row + item.begin + c / group;
    bf16* to = static_cast<bf16*>(args.out.data) + row * args.out.columns + head % slice_heads * d;
    const std::uint32_t* column = from + c / lanes * pairs * lanes + c % lanes;
    for (std::int64_t j = 0; j < d; j += 2)
      std::memcpy(static_cast<void*>(to + j), column + j / 2 * lanes, j + 1 < d ? 4 : 2);
  }
}

void spoil_queries(const std::int32_t* position, float* weight, std::int64_t count,
                   std::int64_t window, std::span<const std::int64_t> bad) {
  for (const std::int64_t key : bad)
    for (std::int64_t i = 0; i < count; ++i)
      if (position[i] >= key && (window == 0 || position[i] < key + window))
        weight[i] = std::numeric_limits<float>::quiet_NaN();
}

}  // namespace tetrarch::backend::cpu
