/// The tensors of a model, their units, and which units a rank holds.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/shape.hpp"
#include "plan/layout.hpp"
#include "plan/tensor_table.hpp"

namespace tetrarch::plan {

/// One dataset of weights.h5. It is cut into units, and a rank holds whole units. An expert tensor
/// has a unit for each (expert, slice), another split tensor one for each slice, an unsplit tensor
/// is one unit. A unit is a contiguous range of the dataset's bytes: whole rows of one expert.
/// Unit index = expert * num_slices + slice.
struct TensorSpec {
  Role role;
  int layer = -1;     // -1: the tensor belongs to no layer
  std::string path;   // "/layers/00/q"
  base::Shape shape;  // [rows, columns], [experts, rows, columns] or [columns]
  base::DType dtype;
  std::int64_t num_experts = 1;  // 1 for tensors without experts, such as those of dense layers
  std::int64_t num_slices = 1;   // slices along the row axis; 1: unsplit
  const TensorKind& kind() const { return kind_of(role); }
  bool has_experts() const { return shape.size() == 3; }
  std::int64_t rows() const;  // rows of one expert; 1 for tensors of one axis
  std::int64_t columns() const;
  std::int64_t num_units() const { return num_experts * num_slices; }
  /// Rows [begin, end) of slice v within one expert: even_range(rows, num_slices, v).
  Range slice_rows(std::int64_t slice) const;
  /// Byte offset of a unit from the dataset's first byte, and its length in bytes.
  std::int64_t unit_offset(std::int64_t unit) const;
  std::int64_t unit_bytes(std::int64_t unit) const;
  /// Bytes of the whole tensor.
  std::int64_t bytes() const;
};

/// Every tensor of the model, in this order: embed, layers, final_norm, head (absent when tied).
std::vector<TensorSpec> tensors_of(const ModelSpec& spec, std::int64_t reduction_shards);

/// The units of one tensor that a rank holds: each (expert, slice) of these two ranges.
struct Shard {
  Range experts;  // [0, 1) for tensors without experts
  Range slices;   // [0, 1) for unsplit tensors
};
/// The shard of a tensor on the rank at `place`:
///   expert tensors                              experts are divided over ep, slices over tp
///   q, o, dense gate, up and down, embed, head  slices are divided over tp
///   k, v                                        units are divided over tp; with fewer units than
///                                               tp ranks, tp / units neighbours hold the same one
///   norms, router                               every rank holds all
Shard shard_of(const TensorSpec& tensor, const Grid& grid, const Place& place);
/// Bytes of a shard in the model's dtype.
std::int64_t shard_bytes(const TensorSpec& tensor, const Shard& shard);

/// The slices, heads, experts and vocabulary rows of a rank, as the forward pass needs them.
struct LocalSizes {
  Range slices;           // of the V reduction shards
  Range heads, kv_heads;  // kv_heads has at least one head
  Range experts;
  std::vector<Range> vocab;  // token ids: one range for each slice of this rank
  /// Vocabulary rows of this rank.
  std::int64_t vocab_count() const;
};
/// The sizes of the rank at `place`.
LocalSizes local_sizes(const ModelSpec& spec, std::int64_t reduction_shards, const Grid& grid,
                       const Place& place);

}  // namespace tetrarch::plan
