/// Memory that the ranks of a node share: one copy for each node.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

/// Rank 0 of the node fills bytes(); then all ranks of the node call share(), and may read from
/// there on. Where the ranks of a node cannot see each other's processes (each in a container of
/// its own), each rank has a copy, and share() sends the bytes.
class NodeMemory {
 public:
  NodeMemory() = default;
  /// Memory of this process alone, filled with zeros. Throws as below.
  explicit NodeMemory(std::size_t bytes);
  /// Memory of the node, filled with zeros. Collective over `node`, with the same `bytes` on each
  /// rank. Throws SystemError(resources) where the node has not enough memory.
  NodeMemory(const Communicator& node, std::size_t bytes);
  NodeMemory(NodeMemory&& other) noexcept;
  NodeMemory& operator=(NodeMemory&& other) noexcept;
  ~NodeMemory();

  std::span<std::byte> bytes() const { return {data_, size_}; }
  /// Whether all ranks of the node have the same copy.
  bool is_shared() const { return is_shared_; }
  /// Collective over the node: after it, all ranks see what rank 0 wrote before it.
  void share(const Communicator& node) const;

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool is_shared_ = false;
};

}  // namespace tetrarch::mpi
