/// Opens the files that a run reads, and makes sure that all ranks see the same.
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
#include "storage/inputs/inputs_file.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::app {

/// Has all users' files of a run opened by a Probe (probe.hpp), started by one rank of each node.
class FirstLook {
 public:
  /// Starts the Probe, before MPI starts. What is wrong already now is kept for end().
  explicit FirstLook(const plan::RunConfig& config);
  /// Waits for the Probe. Throws a Refusal on all ranks when one of them found a problem.
  /// Collective over `world`.
  void end(const mpi::Communicator& world);

 private:
  std::optional<Probe> probe_;
  std::optional<engine::Problem> failure_;
};

/// Rank 0 checks the file (for "synth:PRESET" it first makes it, if it is not there); then all
/// ranks open it. Before a file is made, a plan for the preset is made, so that a run that cannot
/// work is refused first. `memory_limit` is in bytes, for each rank; 0: no limit. Collective over
/// `world` and `node`. Throws Refusal on all ranks: with code `weights` for a bad file, and when
/// ranks see different files; `usage` when a dry run would have to make it; and as
/// plan::make_plan() and open_inputs() do.
storage::WeightsFile open_weights(const plan::RunConfig& config, const mpi::Communicator& world,
                                  const mpi::Communicator& node, std::int64_t memory_limit,
                                  base::Log& log);

/// Rank 0 reads the labels of all inputs (ids, offsets, lengths, errors) and sends what all ranks
/// need; each node holds one copy of it. Collective over `world` and `node`.
/// `memory_limit` is in bytes, for each rank; 0: no limit. Throws Refusal on all ranks when an
/// input is bad, or when the labels need more than `memory_limit` times the ranks of a node; the
/// latter before they are read.
storage::InputSet open_inputs(const plan::RunConfig& config, const plan::ModelSpec& spec,
                              const mpi::Communicator& world, const mpi::Communicator& node,
                              std::int64_t memory_limit);

/// A list of sequences and the tokens of each that pass the layers; one copy for each node.
class SequenceList {
 public:
  SequenceList() = default;
  /// The sequences of the inputs whose status is ok and that are not done. done[i] = '1' says that
  /// sequence i is; an empty `done` says that none is. Collective over `node`.
  SequenceList(const storage::InputSet& inputs, std::span<const std::byte> done,
               const mpi::Communicator& node);
  std::span<const plan::SequenceLength> lengths() const;
  bool is_shared() const { return memory_.is_shared(); }

 private:
  mpi::NodeMemory memory_;
};

/// Host bytes of the inputs' labels and of `list`. Sets `labels`, the most that any rank needs (its
/// share of the copy of its node), and `ids`, what rank 0 needs besides. The same on every rank.
/// Collective over `world`.
plan::FileBytes label_bytes(const storage::InputSet& inputs, const SequenceList& list,
                            const mpi::Communicator& world, const mpi::Communicator& node);

/// `bytes` bytes that world rank 0 fills by calling `fill`, with one copy for each node. Collective
/// over `world` and `node`.
mpi::NodeMemory broadcast_by_node(std::size_t bytes,
                                  const std::function<void(std::span<std::byte>)>& fill,
                                  const mpi::Communicator& world, const mpi::Communicator& node);

}  // namespace tetrarch::app
