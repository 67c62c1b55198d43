/// Foreign HDF5 files are opened first by a child of this program that has limits: a file over
/// which the HDF5 library crashes, hangs or swells ends the child, not the job.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "engine/agree.hpp"
#include "storage/durable.hpp"
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

/// Opens the files in one child, in order. Inputs that are no HDF5 by their first bytes, JSON
/// lines, and what is absent or no regular file, are left to who opens them. It is made before MPI
/// starts, for MPI and the start of processes do not go together; the child works while MPI starts.
class Probe {
 public:
  explicit Probe(const std::vector<ForeignFile>& files, ProbeLimits limits = {});
  /// Ends the child.
  ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  /// Waits for the child's end: what is wrong with the first bad file. `alive` is called
  /// twice a second meanwhile.
  std::optional<engine::Problem> wait(const std::function<void()>& alive = [] {});

 private:
  std::vector<ForeignFile> files_;
  ProbeLimits limits_;
  pid_t child_ = -1;
  storage::Descriptor output_;
};

/// A Probe that is waited for at once.
std::optional<engine::Problem> probe(const std::vector<ForeignFile>& files,
                                     const ProbeLimits& limits = {});
/// probe() for a program without ranks; throws UsageError.
void refuse_bad(const std::vector<ForeignFile>& files);
/// Likewise of what is opened of a run folder: its results, for `purpose`, and its inputs where
/// they are not complete.
void refuse_bad_run_folder(const std::string& run_dir, storage::Purpose purpose);

/// The hidden subcommand that the child runs: probe-file CPU_S MEMORY, with PURPOSE and PATH of
/// each file, all ended by 0, to be read from stdin.
inline constexpr const char* probe_word = "probe-file";
int run_probe(int argc, char** argv);

}  // namespace tetrarch::app
