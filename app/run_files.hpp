/// The files that a run reads, opened so that all ranks see the same.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "base/log.hpp"
#include "engine/agree.hpp"
#include "mpi/communicator.hpp"
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
                     std::int64_t memory_limit);

/// Rank 0 proves the file, and makes it first when "synth:PRESET" asks for it; then all open it.
/// Throws UsageError (weights) on all ranks, also where they see different files.
storage::WeightsFile open_weights(const plan::RunConfig& config, const mpi::Communicator& world,
                                  base::Log& log);

/// Rank 0 reads the labels of all inputs and sends them to the others.
storage::InputSet open_inputs(const plan::RunConfig& config, const plan::ModelSpec& spec,
                              const mpi::Communicator& world);

}  // namespace tetrarch::app
