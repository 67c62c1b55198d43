/// The files that a run reads, opened so that all ranks see the same.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "base/log.hpp"
#include "engine/agree.hpp"
#include "mpi/communicator.hpp"
#include "mpi/node_memory.hpp"
#include "plan/plan.hpp"
#include "probe.hpp"
#include "storage/inputs_file.hpp"
#include "storage/weights_file.hpp"

namespace tetrarch::app {

/// One rank a node has the foreign files opened by a process that may die over them.
class FirstLook {
 public:
  /// Before MPI starts.
  explicit FirstLook(const plan::RunConfig& config);
  /// Waits for what it finds, and throws it on all ranks as a UsageError.
  void end(const mpi::Communicator& world);

 private:
  std::optional<Probe> probe_;
  std::optional<engine::Problem> failure_;
};

/// Where the weights are a preset: what cannot work is refused before a model is written for it.
/// `memory_limit` is in bytes, of each rank.
void check_synthetic(const plan::RunConfig& config, const mpi::Communicator& world,
                     const mpi::Communicator& node, std::int64_t memory_limit);

/// Rank 0 proves the file, and makes it first when "synth:PRESET" asks for it; then all open it.
/// Throws UsageError (weights) on all ranks, also where they see different files.
storage::WeightsFile open_weights(const plan::RunConfig& config, const mpi::Communicator& world,
                                  base::Log& log);

/// Rank 0 reads the labels of all inputs; of what all need each node gets one copy. Refuses them
/// before they are read where they need more than `memory_limit`, bytes of a rank, leaves to a
/// node.
storage::InputSet open_inputs(const plan::RunConfig& config, const plan::ModelSpec& spec,
                              const mpi::Communicator& world, const mpi::Communicator& node,
                              std::int64_t memory_limit);

/// A list of sequences and their lengths, one copy a node.
class SequenceList {
 public:
  SequenceList() = default;
  /// Of the inputs those that are ok and not `done` ('1'; empty: none is). Collective over `node`.
  SequenceList(const storage::InputSet& inputs, std::span<const std::byte> done,
               const mpi::Communicator& node);
  std::span<const plan::SequenceLength> lengths() const;
  bool is_shared() const { return memory_.is_shared(); }

 private:
  mpi::NodeMemory memory_;
};

/// What the labels take: columns, and the list of sequences that are ok. Collective over `world`.
plan::FileBytes label_bytes(const storage::InputSet& inputs, const SequenceList& list,
                            const mpi::Communicator& world, const mpi::Communicator& node);

/// Bytes of world rank 0, one copy a node. Collective over both.
mpi::NodeMemory broadcast_by_node(std::size_t bytes,
                                  const std::function<void(std::span<std::byte>)>& fill,
                                  const mpi::Communicator& world, const mpi::Communicator& node);

}  // namespace tetrarch::app
