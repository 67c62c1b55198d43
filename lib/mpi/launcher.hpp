/// How this process was started: what the launcher's environment says. The only place in lib/ that
/// reads the environment.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

struct Launcher {
  std::string name;        // "mpirun", "srun" or "none"
  int expected_ranks = 0;  // as the launcher says; 0: it does not say
  int rank = 0;            // of this process, as the launcher says; known before MPI starts
  std::string job_id;      // SLURM_JOB_ID or ""
  int restart_count = 0;   // SLURM_RESTART_COUNT
  int local_rank = 0;      // among the ranks of this node; 0 also where the launcher does not say
};
Launcher find_launcher();

/// Refuses N singletons (a launcher that started more ranks than MPI sees) and ranks whose `build`
/// texts differ. Collective. Throws UsageError(communication).
void check_start(const Communicator& world, const Launcher& launcher, const std::string& build);

std::string host_name();
/// Cores in this process's CPU mask.
int cores_in_mask();
/// OMP_NUM_THREADS if it is set to a number >= 1, else 0.
int requested_threads();
/// Threads of a rank: requested, else the cores of the CPU mask divided by the ranks that share it.
/// Collective over the node's ranks.
int threads_per_rank(const Communicator& node);

}  // namespace tetrarch::mpi
