/// The two ends of the log: what is about to run, and where the time went.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "engine/loader.hpp"
#include "mpi/launcher.hpp"
#include "storage/weights_file.hpp"

namespace tetrarch::engine {

/// Who runs: the same on every rank after gathering.
struct Machine {
  mpi::Launcher launcher;
  std::vector<std::string> hosts;  // of each world rank
  int threads_per_rank = 1;
  int cores = 1;  // in this rank's CPU mask
  int ranks_on_node = 1;
};
/// Collective.
Machine describe_machine(const mpi::Communicator& world, const mpi::Communicator& node);

/// Program, libraries, command.
void say_program(base::Log& log, const Machine& machine, const std::string& command_line,
                 const backend::Backend& backend);
/// Layout, model, inputs, microbatches, memory.
void say_plan(base::Log& log, const plan::Plan& plan, const storage::WeightsFile& weights,
              const storage::InputSet& inputs, std::int64_t num_done,
              std::int64_t memory_limit_bytes);
void say_loaded(base::Log& log, const mpi::Communicator& world, const LoadReport& load,
                double seconds);
/// The table of phases over all ranks, totals, and notes. Collective.
void say_end(const Job& job, const Machine& machine, const LoadReport& load,
             const LoopReport& loop);

}  // namespace tetrarch::engine
