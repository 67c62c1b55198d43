/// Which stored tensor, or part of one, each tensor of ours is made of.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "plan/hf_config.hpp"
#include "plan/problems.hpp"
#include "plan/shard.hpp"
#include "storage/checkpoint.hpp"

namespace tetrarch::storage {

/// A matrix or a vector: all of a stored tensor, or one that begins at this element of it.
struct Piece {
  const StoredTensor* tensor = nullptr;
  std::int64_t begin = 0;
};

/// The pieces of every tensor of ours, found by name and with the shape that ours asks for. Each
/// stored tensor is used, or of a kind that no computation needs, or refused by name.
///
/// Experts lie one by one, or all in two tensors of a layer, as transformers 5 names them:
/// experts.gate_up_proj [E, 2F, D], gate above up, and experts.down_proj [E, D, F]. Other tools
/// store them transposed, [E, D, 2F] and [E, F, D]: those are refused. Where one of the two is
/// square in the last axes, the other's shape decides for both; both are never square.
class CheckpointTensors {
 public:
  /// Throws UsageError(weights) with everything that is wrong at once.
  CheckpointTensors(const Checkpoint& checkpoint, const plan::ModelSpec& spec,
                    const std::vector<plan::TensorSpec>& tensors);

  const Piece& piece(std::size_t tensor, std::int64_t expert) const {
    return pieces_[tensor][static_cast<std::size_t>(expert)];
  }
  bool is_transposed(std::size_t tensor) const { return is_transposed_[tensor]; }
  /// A sentence for each kind of tensor that was left out, and for each choice.
  const std::vector<std::string>& remarks() const { return remarks_; }
  /// The stored tensors that are used.
  const std::set<const StoredTensor*>& used() const { return used_; }

 private:
  struct Search;
  void add(const plan::TensorSource& source, const plan::TensorSpec& tensor, Search& search);
  void add_fused(const plan::TensorSource& source, const plan::TensorSpec& tensor, Search& search);
  void judge_the_rest(const plan::ModelSpec& spec, Search& search);
  const StoredTensor* find(const std::vector<std::string>& names) const;

  const Checkpoint& checkpoint_;
  std::vector<std::vector<Piece>> pieces_;
  std::vector<bool> is_transposed_;
  std::set<const StoredTensor*> used_;
  std::vector<std::string> remarks_;
};

}  // namespace tetrarch::storage
