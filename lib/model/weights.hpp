/// The weights of one rank, packed for products. They do not change after loading.
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

/// A tensor together with the memory that holds it.
struct OwnedTensor {
  backend::Buffer memory;
  backend::Tensor tensor;
};

/// The weights of one layer. "X -> Y" is a matrix with X inputs and Y outputs; the letters are
/// those of context.hpp. "local" is this rank's part.
struct LayerWeights {
  OwnedTensor attn_norm, moe_norm;           // [1, D]
  std::unique_ptr<backend::Matrix> q, k, v;  // D -> local heads * d, local kv heads * d
  Matrices o;                                // per local slice: H * d / V -> D
  OwnedTensor q_norm, k_norm;                // [1, d]; absent without qk_norm
  // layers with experts
  std::unique_ptr<backend::Matrix> router;  // D -> E
  Matrices gate, up;                        // per local expert: D -> local F; gate empty for mlp
  std::vector<Matrices> down;               // [local slice][local expert]: F / V -> D
  // layers without experts: F is dense_ffn
  std::unique_ptr<backend::Matrix> dense_gate, dense_up;  // D -> local F; no gate for mlp
  Matrices dense_down;                                    // per local slice: F / V -> D
};

/// The weights of one rank: of its pipeline stage, its experts and its slices.
struct ModelShard {
  OwnedTensor embed;                 // [local vocabulary, D]
  std::vector<LayerWeights> layers;  // all layers of the model; only those of this stage are filled
  OwnedTensor final_norm;            // [1, D]
  std::unique_ptr<backend::Matrix> head;  // D -> local vocabulary
};

/// Builds a ModelShard from host bytes. Tensors may come in any order, one after another.
class ShardBuilder {
 public:
  ShardBuilder(const plan::ModelSpec& spec, const plan::LocalSizes& local, const plan::Held& held,
               backend::Backend& backend);

  /// Adds the next bytes of one expert of `tensor`, or of the whole tensor if it has no experts.
  /// Its bytes are all rows of all local slices, without gaps. They may be cut at any byte. All
  /// bytes of one tensor (or expert) must come before those of the next. `expert` is a global id; 0
  /// for tensors without experts.
  void add(const plan::TensorSpec& tensor, std::int64_t expert, std::span<const std::byte> host);
  /// Returns the shard. Throws InternalError if a weight that this rank holds is missing.
  ModelShard take();

 private:
  /// Where the rows of a tensor go: to one vector, to one matrix after another, or to both (tied
  /// embeddings).
  struct Target {
    std::string path;  // of the tensor
    std::int64_t expert = 0;
    OwnedTensor* vector = nullptr;
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
  std::optional<Target> open_;      // the tensor that is being added; empty between tensors
  std::vector<std::byte> cut_row_;  // the first bytes of a row whose rest has not come
};

}  // namespace tetrarch::model
