/// Opens users' HDF5 files first in a child process with limits on time and memory. A file on which
/// the HDF5 library crashes, hangs or takes too much memory then ends the child, not the job.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "engine/agree.hpp"
#include "storage/files/durable.hpp"
#include "storage/run/probe.hpp"

namespace tetrarch::app {

struct ForeignFile {
  std::string path;
  storage::Purpose purpose;
};

/// Limits of the child. It reports progress while it works; the two times are between reports.
struct ProbeLimits {
  double silence_s = 60;            // seconds of wall-clock time
  std::int64_t cpu_s = 30;          // seconds of CPU time
  std::int64_t memory = 1ll << 30;  // bytes beyond those that the child uses at its start
  std::string program = "/proc/self/exe";
};

/// Opens the files in one child, one after the other. It skips files that are absent or not
/// regular, JSON lines, and inputs whose first bytes are not those of HDF5: the code that opens
/// them later reports what is wrong.
/// Must be made before MPI starts, because starting a process is not safe with MPI. The child works
/// while MPI starts.
class Probe {
 public:
  /// Starts the child. Throws SystemError(resources) when it cannot be started.
  explicit Probe(const std::vector<ForeignFile>& files, ProbeLimits limits = {});
  /// Kills the child if it still runs.
  ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  /// Waits until the child has ended. Returns what is wrong with the first bad file, nothing when
  /// all are good. Meanwhile `alive` is called at least twice a second. Throws
  /// SystemError(resources) when the child's end cannot be read.
  std::optional<engine::Problem> wait(const std::function<void()>& alive = [] {});

 private:
  std::vector<ForeignFile> files_;
  ProbeLimits limits_;
  pid_t child_ = -1;
  storage::Descriptor output_;
};

/// Makes a Probe and waits for it.
std::optional<engine::Problem> probe(const std::vector<ForeignFile>& files,
                                     const ProbeLimits& limits = {});
/// The same, for subcommands that run as one process: throws the problem as a Refusal.
void refuse_bad(const std::vector<ForeignFile>& files);
/// The same, for the files that are opened when a run folder is read: its results.h5, for
/// `purpose`, and, when the results are not complete, its inputs.
void refuse_bad_run_folder(const std::string& run_dir, storage::Purpose purpose);

/// The hidden subcommand that the child runs: `probe-file CPU_S MEMORY`. It reads the purpose and
/// the path of each file from stdin, each followed by a zero byte.
inline constexpr const char* probe_word = "probe-file";
/// Runs that subcommand. Returns 0, or the exit code for the first bad file, after its message was
/// written to stdout.
int run_probe(int argc, char** argv);

}  // namespace tetrarch::app
