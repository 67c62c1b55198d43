/// The tensors of a model, their units, and which units a rank holds.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/shape.hpp"
#include "plan/layout.hpp"

namespace tetrarch::plan {

/// What a tensor is to the forward pass.
enum class Role {
  embed,
  head,
  final_norm,
  attn_norm,
  moe_norm,
  q,
  k,
  v,
  q_norm,
  k_norm,
  o,
  router,
  gate,
  up,
  down
};

/// One dataset of weights.h5. It is cut into units: (expert, slice) for expert tensors, slices for
/// other split ones, the whole for unsplit ones. A unit is a contiguous range of the dataset's
/// bytes: whole rows (all of the last axis) of one expert.
/// Unit index = expert * num_slices + slice.
struct TensorSpec {
  Role role;
  int layer = -1;     // -1: outside the layers
  std::string path;   // "/layers/00/q"
  base::Shape shape;  // [rows, columns], [experts, rows, columns] or [columns]
  base::DType dtype;
  std::int64_t num_experts = 1;  // 1 for tensors without experts, as those of dense layers
  std::int64_t num_slices = 1;   // along the row axis; 1: unsplit
  std::int64_t rows() const;     // of one expert; 1 for vectors
  std::int64_t columns() const;
  std::int64_t num_units() const { return num_experts * num_slices; }
  /// Rows [begin, end) of slice v within one expert: even_range(rows, num_slices, v).
  Range slice_rows(std::int64_t slice) const;
  /// Byte offset of a unit from the dataset's first byte, and its length.
  std::int64_t unit_offset(std::int64_t unit) const;
  std::int64_t unit_bytes(std::int64_t unit) const;
  std::int64_t bytes() const;
};

/// Every tensor of the model, in path order of the file: embed, layers, final_norm, head.
std::vector<TensorSpec> tensors_of(const ModelSpec& spec, std::int64_t reduction_shards);

/// The part of one tensor that a rank holds: experts x slices, a rectangle of units.
struct Shard {
  Range experts;  // [0, 1) for tensors without experts
  Range slices;   // [0, 1) for unsplit tensors
};
/// Expert tensors: experts by ep, slices by tp. q, o, dense gate, up, down, embed, head: slices by
/// tp. k, v: units by tp, and with fewer units than tp ranks, tp / units neighbours hold the same
/// one. Norms, router: whole.
Shard shard_of(const TensorSpec& tensor, const Grid& grid, const Place& place);
std::int64_t shard_bytes(const TensorSpec& tensor, const Shard& shard);

/// The heads, experts, vocabulary, FFN columns of a rank, as the forward pass needs them.
struct LocalSizes {
  Range slices;           // of the reduction shards V
  Range heads, kv_heads;  // kv_heads holds at least one
  Range experts;
  std::vector<Range> vocab;  // one range per local slice
  std::int64_t vocab_count() const;
};
LocalSizes local_sizes(const ModelSpec& spec, std::int64_t reduction_shards, const Grid& grid,
                       const Place& place);

}  // namespace tetrarch::plan
