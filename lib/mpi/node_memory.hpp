/// Bytes of which a node has one copy, seen by all its ranks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

/// Rank 0 of the node fills bytes(), then all call share(). Where the ranks of a node do not see
/// each other's processes (containers of their own), each has a copy of its own.
class NodeMemory {
 public:
  NodeMemory() = default;
  /// Of this process alone, zeros.
  explicit NodeMemory(std::size_t bytes);
  /// Collective over `node`, with equal `bytes`. Zeros. Throws SystemError(resources) where the
  /// node has not as much memory.
  NodeMemory(const Communicator& node, std::size_t bytes);
  NodeMemory(NodeMemory&& other) noexcept;
  NodeMemory& operator=(NodeMemory&& other) noexcept;
  ~NodeMemory();

  std::span<std::byte> bytes() const { return {data_, size_}; }
  /// Whether all ranks of the node have the same copy.
  bool is_shared() const { return is_shared_; }
  /// Collective over the node: what its rank 0 has written is seen by all from here on.
  void share(const Communicator& node) const;

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool is_shared_ = false;
};

}  // namespace tetrarch::mpi
