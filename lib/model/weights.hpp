/// The weights of one rank, ready for products; constant after loading.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.hpp"
#include "plan/depth.hpp"

namespace tetrarch::model {

using Matrices = std::vector<std::unique_ptr<backend::Matrix>>;

/// A small tensor with the memory that it lies in.
struct Vector {
  backend::Buffer memory;
  backend::Tensor tensor;
};

struct LayerWeights {
  Vector attn_norm, moe_norm;                // [1, D]
  std::unique_ptr<backend::Matrix> q, k, v;  // D -> local heads * d, local kv heads * d
  Matrices o;                                // per local slice: H * d / V -> D
  Vector q_norm, k_norm;                     // [1, d]; absent without qk_norm
  // with experts
  std::unique_ptr<backend::Matrix> router;  // D -> E
  Matrices gate, up;                        // per local expert: D -> local F; gate empty for mlp
  std::vector<Matrices> down;               // [local slice][local expert]: F / V -> D
  // without: F is dense_ffn
  std::unique_ptr<backend::Matrix> dense_gate, dense_up;  // D -> local F; no gate for mlp
  Matrices dense_down;                                    // per local slice: F / V -> D
};

struct ModelShard {
  Vector embed;                           // [local vocabulary, D]
  std::vector<LayerWeights> layers;       // all layers of the model; those of this stage are filled
  Vector final_norm;                      // [1, D]
  std::unique_ptr<backend::Matrix> head;  // D -> local vocabulary
};

/// Fills a ModelShard from host bytes, tensor by tensor, in any order.
class ShardBuilder {
 public:
  ShardBuilder(const plan::ModelSpec& spec, const plan::LocalSizes& local, const plan::Held& held,
               backend::Backend& backend);

  /// `host`: the next bytes of one expert of `tensor` (of the whole tensor where it has no
  /// experts), which is all rows of all local slices, dense; they may be cut anywhere, and the last
  /// one comes before the first of another. `expert` is a global id; 0 for tensors without experts.
  void add(const plan::TensorSpec& tensor, std::int64_t expert, std::span<const std::byte> host);
  /// Throws InternalError when a weight that is held is missing.
  ModelShard take();

 private:
  /// Where rows go: to one vector, to one matrix after another, or to both (tied embeddings).
  struct Target {
    std::string path;  // of the tensor
    std::int64_t expert = 0;
    Vector* vector = nullptr;
    std::vector<std::unique_ptr<backend::Matrix>*> matrices;
    backend::WeightOrder order = backend::WeightOrder::nk;
    std::int64_t num_rows = 0, columns = 0;  // of the host
    std::int64_t rows_done = 0;
    std::unique_ptr<backend::MatrixBuilder> builder;
  };
  Target target_of(const plan::TensorSpec& tensor, std::int64_t expert);
  void target_ffn(const plan::TensorSpec& tensor, std::int64_t expert, Target& target);
  void target_attention(const plan::TensorSpec& tensor, Target& target);
  std::int64_t num_rows(const plan::TensorSpec& tensor) const;
  void add_rows(const std::byte* host, std::int64_t count);
  void pack_rows(const std::byte* host, std::int64_t count);
  bool is_complete(std::size_t layer) const;

  const plan::ModelSpec& spec_;
  plan::LocalSizes local_;
  plan::Held held_;
  backend::Backend& backend_;
  ModelShard shard_;
  std::optional<Target> open_;      // until all its rows have come
  std::vector<std::byte> cut_row_;  // the first bytes of a row
};

}  // namespace tetrarch::model
