/// Finds the stored tensor, or part of one, from which each tensor of weights.h5 is made.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "import/checkpoint.hpp"
#include "import/hf_config.hpp"
#include "plan/problems.hpp"
#include "plan/shard.hpp"

namespace tetrarch::hf {

/// One matrix or vector: a whole stored tensor, or a part of one.
struct Piece {
  const StoredTensor* tensor = nullptr;
  std::int64_t begin = 0;  // element of the stored tensor at which the matrix or vector begins
};

/// The pieces from which every tensor of weights.h5 is made. They are found by name, and their
/// shapes are checked. A stored tensor that is not used is left out with a remark if no computation
/// needs it; any other is refused by name.
///
/// Experts are stored one by one, or in two tensors per layer with the names of transformers 5
/// (E experts, F ffn_size, D hidden_size): experts.gate_up_proj [E, 2F, D], with the rows of gate
/// before those of up, and experts.down_proj [E, D, F]. Tensors that other tools stored transposed,
/// [E, D, 2F] and [E, F, D], are refused. If the last two axes of one tensor are equal, the shape
/// of the other tensor decides for both; they cannot be equal in both.
class CheckpointTensors {
 public:
  /// Keeps a reference to `checkpoint`. Throws Refusal(weights) with all problems in one
  /// message.
  CheckpointTensors(const Checkpoint& checkpoint, const plan::ModelSpec& spec,
                    const std::vector<plan::TensorSpec>& tensors);

  /// The piece for one expert of a tensor; expert 0 for a tensor without experts. `tensor` is an
  /// index into the constructor's `tensors`.
  const Piece& piece(std::size_t tensor, std::int64_t expert) const {
    return pieces_[tensor][static_cast<std::size_t>(expert)];
  }
  /// Whether the checkpoint stores the tensor's matrices with rows and columns exchanged.
  bool is_transposed(std::size_t tensor) const { return is_transposed_[tensor]; }
  /// One sentence for the tensors that were left out, and one for each assumption about a layout.
  const std::vector<std::string>& remarks() const { return remarks_; }
  /// All stored tensors that are used.
  const std::set<const StoredTensor*>& used() const { return used_; }

 private:
  struct Search;
  void add(const TensorSource& source, const plan::TensorSpec& tensor, Search& search);
  void add_fused(const TensorSource& source, const plan::TensorSpec& tensor, Search& search);
  void judge_the_rest(const plan::ModelSpec& spec, Search& search);
  const StoredTensor* find(const std::vector<std::string>& names) const;

  const Checkpoint& checkpoint_;
  std::vector<std::vector<Piece>> pieces_;
  std::vector<bool> is_transposed_;
  std::set<const StoredTensor*> used_;
  std::vector<std::string> remarks_;
};

}  // namespace tetrarch::hf
