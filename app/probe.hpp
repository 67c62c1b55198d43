/// Foreign HDF5 files are opened first by a child of this program that has limits: a file over
/// which the HDF5 library crashes, hangs or swells ends the child, not the job.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/agree.hpp"
#include "storage/probe.hpp"

namespace tetrarch::app {

struct ForeignFile {
  std::string path;
  storage::Purpose purpose;
};

struct ProbeLimits {
  double silence_s = 60;            // of the clock, between two signs of life
  std::int64_t cpu_s = 30;          // of computing, likewise
  std::int64_t memory = 1ll << 30;  // bytes beyond what the program itself takes
  std::string program = "/proc/self/exe";
};

/// Opens the files in one child, in order; what is wrong with the first bad one. Files that are no
/// HDF5 by their name (JSON lines), absent or no regular files are left to who opens them. Call it
/// before MPI starts, for MPI and child processes do not go together.
std::optional<engine::Problem> probe(const std::vector<ForeignFile>& files,
                                     const ProbeLimits& limits = {});
/// probe() for a program without ranks; throws UsageError.
void refuse_bad(const std::vector<ForeignFile>& files);
/// Likewise of the inputs of a run folder that is merged or verified.
void refuse_bad_inputs_of(const std::string& run_dir);

/// The hidden subcommand that the child runs: probe-file CPU_S MEMORY (PURPOSE PATH)...
inline constexpr const char* probe_word = "probe-file";
int run_probe(int argc, char** argv);

}  // namespace tetrarch::app
