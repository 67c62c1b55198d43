// SPDX-License-Identifier: Apache-2.0
#include "mpi/launcher.hpp"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include "base/error.hpp"
#include "mpi/session.hpp"

namespace tetrarch::mpi {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// The whole text as a number >= 0, or `otherwise`.
int number(const std::string& text, int otherwise) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  return text.empty() || *end != '\0' || value < 0 || value > 1 << 24 ? otherwise
                                                                      : static_cast<int>(value);
}

cpu_set_t mask_of_this_process() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  sched_getaffinity(0, sizeof(mask), &mask);
  return mask;
}

}  // namespace

Launcher find_launcher() {
  Launcher launcher;
  launcher.job_id = variable("SLURM_JOB_ID");
  launcher.restart_count = number(variable("SLURM_RESTART_COUNT"), 0);
  if (const int ranks = number(variable("OMPI_COMM_WORLD_SIZE"), 0); ranks > 0) {
    launcher.name = "mpirun";
    launcher.expected_ranks = ranks;
    launcher.rank = number(variable("OMPI_COMM_WORLD_RANK"), 0);
    launcher.local_rank = number(variable("OMPI_COMM_WORLD_LOCAL_RANK"), 0);
  } else if (const int tasks = number(variable("SLURM_STEP_NUM_TASKS"), 0);
             tasks > 0 && !variable("SLURM_PROCID").empty()) {
    // not SLURM_NTASKS: that is also set in the batch script, where a single process is right
    launcher.name = "srun";
    launcher.expected_ranks = tasks;
    launcher.rank = number(variable("SLURM_PROCID"), 0);
    launcher.local_rank = number(variable("SLURM_LOCALID"), 0);
  } else if (const int size = number(variable("PMI_SIZE"), 0); size > 0) {
    launcher.name = "mpiexec";
    launcher.expected_ranks = size;
    launcher.rank = number(variable("PMI_RANK"), 0);
    launcher.local_rank = number(variable("MPI_LOCALRANKID"), 0);
  } else {
    launcher.name = "none";
  }
  return launcher;
}

void check_start(const Communicator& world, const Launcher& launcher, const std::string& build) {
  if (launcher.expected_ranks > world.size())
    throw base::Refusal(
        base::ExitCode::communication,
        fmt::format("{} started {} processes, but MPI sees {} (each would do the whole job alone; "
                    "launcher and MPI library do not fit). Use the mpirun of {}, or "
                    "`srun --mpi=pmix` (see `srun --mpi=list`).",
                    launcher.name, launcher.expected_ranks, world.size(),
                    Session::library_version()));
  // Every rank compares its `build` with that of rank 0. The message names the lowest rank that
  // differs, so it is the same on every rank.
  const std::string first = world.broadcast(build, 0);
  const std::int64_t differing = world.min(build == first ? world.size() : world.rank());
  if (differing == world.size()) return;
  const int other = static_cast<int>(differing);
  throw base::Refusal(
      base::ExitCode::communication,
      fmt::format("rank 0 runs \"{}\", rank {} runs \"{}\" (results of different builds must not "
                  "be mixed). Start the same program on every rank.",
                  first, other, world.broadcast(build, other)));
}

int cores_in_mask() {
  const cpu_set_t mask = mask_of_this_process();
  return std::max(1, CPU_COUNT(&mask));
}

int requested_threads() {
  return number(variable("OMP_NUM_THREADS"), 0);
}

int threads_per_rank(const Communicator& node) {
  const int requested = requested_threads();
  const cpu_set_t mask = mask_of_this_process();
  const std::string mine(reinterpret_cast<const char*>(&mask), sizeof(mask));
  const std::vector<std::string> masks = node.all_gather(mine);
  const auto sharing = static_cast<int>(std::count(masks.begin(), masks.end(), mine));
  return requested > 0 ? requested : std::max(1, cores_in_mask() / sharing);
}

}  // namespace tetrarch::mpi
