/// How this process was started, as the launcher's environment variables say. The only place in
/// lib/ that reads environment variables.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

struct Launcher {
  std::string name;        // "mpirun", "srun", "mpiexec" or "none"
  int expected_ranks = 0;  // ranks that the launcher started; 0: there is no launcher
  int rank = 0;            // of this process, as the launcher says; known before MPI starts
  std::string job_id;      // SLURM_JOB_ID or ""
  int restart_count = 0;   // SLURM_RESTART_COUNT
  int local_rank = 0;      // among the ranks of this node; 0 where the launcher does not say
};
/// Reads the environment; needs no MPI.
Launcher find_launcher();

/// Throws Refusal(communication) on every rank in two cases. The launcher started more ranks
/// than MPI sees: then each process would do the whole job alone. Or the `build` texts of two ranks
/// differ: then they do not run the same program. Collective over `world`.
void check_start(const Communicator& world, const Launcher& launcher, const std::string& build);

/// Cores in this process's CPU mask.
int cores_in_mask();
/// OMP_NUM_THREADS if it is set to a number >= 1, else 0.
int requested_threads();
/// Threads of a rank: requested, else the cores of the CPU mask divided by the ranks that share it.
/// Collective over the node's ranks.
int threads_per_rank(const Communicator& node);

}  // namespace tetrarch::mpi
