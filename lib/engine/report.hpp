/// The head and the end of the log: what will run, and how the time was spent.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "engine/loader.hpp"
#include "mpi/launcher.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::engine {

/// The launcher, hosts and threads of the job. Gathered from all ranks.
struct Machine {
  mpi::Launcher launcher;
  std::vector<std::string> hosts;  // host of each world rank
  int threads_per_rank = 1;
  int cores = 1;  // number of cores in this rank's CPU mask
  int ranks_on_node = 1;
};
/// Gathers the launcher, hosts and threads of the job. Collective.
Machine describe_machine(const mpi::Communicator& world, const mpi::Communicator& node);

/// Prints program, libraries and command.
void say_program(base::Log& log, const Machine& machine, const std::string& command_line,
                 const backend::Backend& backend);
/// Prints layout, model, inputs, microbatches and memory.
void say_plan(base::Log& log, const plan::Plan& plan, const storage::WeightsFile& weights,
              const storage::InputSet& inputs, std::int64_t num_done,
              std::int64_t memory_limit_bytes);
/// Prints the bytes and the speed of loading over all ranks. `seconds`: of this rank. Collective.
void say_loaded(base::Log& log, const mpi::Communicator& world, const LoadReport& load,
                double seconds);
/// Prints the table of phases over all ranks, totals, and notes. Collective.
void say_end(const Job& job, const Machine& machine, const LoadReport& load,
             const LoopReport& loop);

}  // namespace tetrarch::engine
