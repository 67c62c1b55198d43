/// The table of all tensors that a model may have: one row for each role, with its name, shape, cut
/// and initial values.
///
/// A new tensor of a model is a row here, its names in checkpoints (import/hf_tensors.cpp), its
/// place in model/weights.hpp, and the formula that uses it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/shape.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::plan {

/// The role of a tensor in the forward pass.
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

/// Where in the model a tensor is used; a pipeline stage holds what it uses.
enum class Site { embedding, layer, final_norm, head };

/// How the rows of a tensor are cut into slices.
///   whole       not at all: every rank has the tensor
///   vocabulary  V slices of the vocabulary
///   outputs     V slices of the product's outputs
///   inputs      V slices of the product's inputs, which are the rows: the tensor is stored as
///               [inputs, outputs], and the products of the slices are summed
///   kv_heads    slices of whole kv heads, at most V
enum class Cut { whole, vocabulary, outputs, inputs, kv_heads };

/// Synthetic values have this standard deviation; `by_fan_in`: times (number of inputs)^-1/2.
struct Deviation {
  double value = 1;
  bool by_fan_in = false;
};

/// A row of the table.
struct TensorKind {
  Role role;
  const char* name;  // last part of the path in weights.h5
  Site site;
  Cut cut;
  /// The shape in a layer (or -1): [rows, columns], [experts, rows, columns] or [columns]. Empty:
  /// the model has no such tensor there.
  base::Shape (*shape)(const ModelSpec& spec, int layer);
  Deviation deviation;
  const char* description;                   // the dataset's attribute
  const char* expert_description = nullptr;  // the same if the shape has an axis of experts
};

/// In the order of the file: embedding, the tensors of a layer, final norm, head.
std::span<const TensorKind> tensor_table();
const TensorKind& kind_of(Role role);
/// The number of slices into which `reduction_shards` (V) cut a tensor of that kind.
std::int64_t num_slices(const TensorKind& kind, const ModelSpec& spec,
                        std::int64_t reduction_shards);

}  // namespace tetrarch::plan
