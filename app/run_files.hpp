/// The files that a run reads, opened so that all ranks see the same.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "base/log.hpp"
#include "engine/agree.hpp"
#include "mpi/communicator.hpp"
#include "plan/plan.hpp"
#include "storage/inputs_file.hpp"
#include "storage/weights_file.hpp"

namespace tetrarch::app {

/// Before MPI: one rank a node has the foreign files opened by a process that may die over them.
/// What it finds waits until all ranks can hear it.
std::optional<engine::Problem> probe_once_a_node(const plan::RunConfig& config);

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
