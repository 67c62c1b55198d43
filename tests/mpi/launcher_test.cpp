// What the launcher's environment variables say, and starts that are refused.
// SPDX-License-Identifier: Apache-2.0
#include "mpi/launcher.hpp"

#include <cstdlib>
#include <map>
#include <optional>

#include <gtest/gtest.h>
#include <sched.h>

#include "base/error.hpp"
#include "mpi/world.hpp"

namespace tetrarch::mpi {
namespace {

/// Sets the launcher's variables that a test gives and unsets all others; restores them at its end.
class LauncherTest : public ::testing::Test {
 protected:
  static constexpr const char* names[] = {"OMPI_COMM_WORLD_SIZE",
                                          "OMPI_COMM_WORLD_RANK",
                                          "SLURM_JOB_ID",
                                          "SLURM_RESTART_COUNT",
                                          "SLURM_STEP_NUM_TASKS",
                                          "SLURM_PROCID",
                                          "SLURM_NTASKS",
                                          "PMI_SIZE",
                                          "OMPI_COMM_WORLD_LOCAL_RANK",
                                          "SLURM_LOCALID",
                                          "MPI_LOCALRANKID",
                                          "PMI_RANK",
                                          "OMP_NUM_THREADS"};
  LauncherTest() {
    for (const char* name : names) {
      const char* value = std::getenv(name);
      before_[name] = value ? std::optional<std::string>(value) : std::nullopt;
      ::unsetenv(name);
    }
  }
  ~LauncherTest() override {
    for (const auto& [name, value] : before_) {
      if (value)
        ::setenv(name.c_str(), value->c_str(), 1);
      else
        ::unsetenv(name.c_str());
    }
  }
  static void set(const char* name, const char* value) { ::setenv(name, value, 1); }

  Communicator world = everyone();

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

std::string refusal(const Communicator& world, const Launcher& launcher, const std::string& build) {
  try {
    check_start(world, launcher, build);
  } catch (const base::Refusal& error) {
    EXPECT_EQ(error.code(), base::ExitCode::communication);
    return error.what();
  }
  return {};
}

TEST_F(LauncherTest, NothingInTheEnvironmentIsNoLauncher) {
  const Launcher launcher = find_launcher();

  EXPECT_EQ(launcher.name, "none");
  EXPECT_EQ(launcher.expected_ranks, 0);
  EXPECT_EQ(launcher.job_id, "");
  EXPECT_EQ(launcher.restart_count, 0);
}

TEST_F(LauncherTest, MpirunSaysHowManyItStarted) {
  set("OMPI_COMM_WORLD_SIZE", "64");

  EXPECT_EQ(find_launcher().name, "mpirun");
  EXPECT_EQ(find_launcher().expected_ranks, 64);
}

TEST_F(LauncherTest, EachSaysWhichOfTheNodesRanksThisIs) {
  EXPECT_EQ(find_launcher().local_rank, 0);
  set("SLURM_LOCALID", "2");
  EXPECT_EQ(find_launcher().local_rank, 0);  // SLURM_LOCALID is also set in a batch script
  set("PMI_SIZE", "4");
  set("MPI_LOCALRANKID", "1");
  EXPECT_EQ(find_launcher().local_rank, 1);
  set("SLURM_STEP_NUM_TASKS", "4");
  set("SLURM_PROCID", "6");
  EXPECT_EQ(find_launcher().local_rank, 2);
  set("OMPI_COMM_WORLD_SIZE", "4");
  set("OMPI_COMM_WORLD_LOCAL_RANK", "3");
  EXPECT_EQ(find_launcher().local_rank, 3);
}

TEST_F(LauncherTest, SrunIsKnownByItsStepAndItsProcess) {
  set("SLURM_STEP_NUM_TASKS", "16");
  set("SLURM_PROCID", "3");
  set("SLURM_JOB_ID", "4711");
  set("SLURM_RESTART_COUNT", "2");

  const Launcher launcher = find_launcher();

  EXPECT_EQ(launcher.name, "srun");
  EXPECT_EQ(launcher.expected_ranks, 16);
  EXPECT_EQ(launcher.job_id, "4711");
  EXPECT_EQ(launcher.restart_count, 2);
}

TEST_F(LauncherTest, OneProcessInABatchScriptIsNoStep) {
  set("SLURM_JOB_ID", "4711");
  set("SLURM_NTASKS", "16");

  EXPECT_EQ(find_launcher().name, "none");
  EXPECT_EQ(find_launcher().expected_ranks, 0);
  EXPECT_EQ(find_launcher().job_id, "4711");
}

TEST_F(LauncherTest, MpirunInsideASlurmJobCounts) {
  set("SLURM_STEP_NUM_TASKS", "1");
  set("SLURM_PROCID", "0");
  set("OMPI_COMM_WORLD_SIZE", "8");

  EXPECT_EQ(find_launcher().name, "mpirun");
  EXPECT_EQ(find_launcher().expected_ranks, 8);
}

TEST_F(LauncherTest, MpiexecOfOtherLibrariesCounts) {
  set("PMI_SIZE", "4");

  EXPECT_EQ(find_launcher().name, "mpiexec");
  EXPECT_EQ(find_launcher().expected_ranks, 4);
}

TEST_F(LauncherTest, TheRankIsKnownBeforeMpiStarts) {
  set("PMI_SIZE", "4");
  set("PMI_RANK", "1");
  EXPECT_EQ(find_launcher().rank, 1);
  set("SLURM_STEP_NUM_TASKS", "4");
  set("SLURM_PROCID", "2");
  EXPECT_EQ(find_launcher().rank, 2);
  set("OMPI_COMM_WORLD_SIZE", "4");
  set("OMPI_COMM_WORLD_RANK", "3");
  EXPECT_EQ(find_launcher().rank, 3);
}

TEST_F(LauncherTest, WhatIsNoNumberSaysNothing) {
  for (const char* value : {"", "many", "8x", "-2", "99999999999999999999"}) {
    set("OMPI_COMM_WORLD_SIZE", value);
    set("SLURM_RESTART_COUNT", value);

    EXPECT_EQ(find_launcher().name, "none") << value;
    EXPECT_EQ(find_launcher().restart_count, 0) << value;
  }
}

TEST_F(LauncherTest, RanksThatMpiSeesAllPass) {
  Launcher launcher;
  launcher.name = "mpirun";
  launcher.expected_ranks = world.size();
  EXPECT_EQ(refusal(world, launcher, "build A"), "");

  launcher.expected_ranks = 0;  // the launcher does not say
  EXPECT_EQ(refusal(world, launcher, "build A"), "");
}

TEST_F(LauncherTest, SingletonsAreRefusedWithBothNumbers) {
  Launcher launcher;
  launcher.name = "srun";
  launcher.expected_ranks = world.size() + 3;

  const std::string message = refusal(world, launcher, "build A");

  const std::string found = "srun started " + std::to_string(world.size() + 3) +
                            " processes, but MPI sees " + std::to_string(world.size());
  EXPECT_NE(message.find(found), std::string::npos) << message;
  EXPECT_NE(message.find("srun --mpi=pmix"), std::string::npos) << message;
}

TEST_F(LauncherTest, RanksOfDifferentBuildsAreRefusedAlikeOnEveryRank) {
  Launcher launcher;
  launcher.name = "mpirun";
  launcher.expected_ranks = world.size();
  const bool is_other = world.rank() >= (world.size() + 1) / 2;

  const std::string message =
      refusal(world, launcher,
              is_other && world.size() > 1 ? "build " + std::to_string(world.rank()) : "A");

  const std::string lowest = std::to_string((world.size() + 1) / 2);
  if (world.size() == 1) {
    EXPECT_EQ(message, "");
  } else {
    EXPECT_NE(message.find("rank 0 runs \"A\", rank " + lowest + " runs \"build " + lowest + "\""),
              std::string::npos)
        << message;
  }
  const auto messages = world.all_gather(message);
  for (const std::string& other : messages)
    EXPECT_EQ(other, message);
}

TEST_F(LauncherTest, RequestedThreadsAreThoseOfOpenMp) {
  EXPECT_EQ(requested_threads(), 0);
  set("OMP_NUM_THREADS", "6");
  EXPECT_EQ(requested_threads(), 6);
  EXPECT_EQ(threads_per_rank(world), 6);
  set("OMP_NUM_THREADS", "two");
  EXPECT_EQ(requested_threads(), 0);
}

TEST_F(LauncherTest, RanksShareTheCoresOfTheirMask) {
  cpu_set_t before;
  EXPECT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  const int cores = cores_in_mask();
  EXPECT_EQ(cores, CPU_COUNT(&before));

  EXPECT_EQ(threads_per_rank(world), std::max(1, cores / world.size()));

  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  EXPECT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(cores_in_mask(), 1);
  EXPECT_EQ(threads_per_rank(world), 1);
  sched_setaffinity(0, sizeof(before), &before);
}

}  // namespace
}  // namespace tetrarch::mpi
