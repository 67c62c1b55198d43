/// The folder of a run: its lock, its settings (run.json), and its committed parts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/handle.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "storage/files/folder_lock.hpp"
#include "storage/run/part_file.hpp"

namespace tetrarch::storage {

/// The settings that run.json keeps. Each is a JSON object and may be nested.
struct RunSettings {
  /// Must not change on resume. A difference throws Refusal with the dotted key, the old and the
  /// new value. The code is weights (4) for keys below "weights", input (3) below "inputs", else
  /// usage (2).
  base::Json frozen = base::Json::object();
  /// Like frozen, but may change with allow_mixed: versions, build, instruction set, backend.
  base::Json mixable = base::Json::object();
  /// Replaced by each attempt: input paths, command line, grid, and the facts that merging needs
  /// (merge.hpp).
  base::Json facts = base::Json::object();
};

struct RunFolderOptions {
  bool allow_mixed = false;
  double lock_wait_s = 10;  // longest wait for a lock that another process holds
  bool keep_parts = false;  // keep the parts also when the results are complete
  double parts_wait_s = 0;  // longest wait of all calls of wait_for_parts() together
};

/// A sequence and the part that it is taken from.
struct CommittedSequence {
  PartEntry entry;
  int part = 0;  // index into Committed::parts
};
/// The sequences in the parts that count, each once.
struct Committed {
  std::vector<std::string> parts;              // paths; parts that count together are adjacent
  std::vector<bool> is_whole;                  // of each part: all its sequences are taken from it
  std::vector<CommittedSequence> sequences;    // sorted by sequence
  std::map<std::int64_t, std::string> errors;  // of failed sequences, by sequence
  std::int64_t num_twice = 0;                  // sequences also found in a later part
  bool has(std::int64_t sequence) const { return find(sequence) != nullptr; }
  /// Null if the sequence is in no part.
  const CommittedSequence* find(std::int64_t sequence) const;
};

/// Rules that say which parts of a run count.
struct PartRules {
  /// > 0: the parts of one dp rank, attempt and number count only if all ep ranks 0 .. ep_set - 1
  /// have one.
  int ep_set = 0;
  /// Parts hold sums over all their sequences. So a part counts with all of its sequences or not at
  /// all.
  bool holds_sums = false;
};
/// The rules that follow from `ep_set` (0 if absent) and `layout` in the facts of run.json.
PartRules part_rules(const base::Json& facts);

/// Functions that scan_parts() calls for parts that do not count. `problem` is a whole sentence
/// that names the file.
struct PartFindings {
  using Tell = std::function<void(const std::string& path, const std::string& problem)>;
  Tell damaged;    // damaged, or of another run
  Tell uncounted;  // undamaged, but parts that count together with it are missing
  Tell spare;      // undamaged, but only some of its sequences count in other parts
};
/// Reads and verifies all parts of a run folder; changes nothing. Throws SystemError(resources) if
/// a file or folder cannot be read.
Committed scan_parts(const std::string& run_dir, const std::string& run_uuid,
                     const PartRules& rules, const PartFindings& findings);

/// A run folder that this process holds, from open() to the destructor; meanwhile no second process
/// can open it. Only rank 0 has this object. Other writing ranks need only path(), run_uuid() and
/// attempt() for their PartWriter.
class RunFolder {
 public:
  /// Creates the folder or resumes in it: waits for the lock, compares the settings, removes
  /// temporary files and a stop request of earlier attempts, counts the attempt. If is_complete(),
  /// does not count an attempt, and removes the remaining parts unless keep_parts.
  ///
  /// Throws Refusal(resources) if the folder is in use, read-only or not a folder,
  /// Refusal(usage) if its files or its results are not of this run, Refusal as RunSettings
  /// says for changed settings.
  static RunFolder open(const std::string& path, const RunSettings& settings,
                        const RunFolderOptions& options, base::Log& log);
  /// Opens a folder that has a run.json, for merging; counts no attempt.
  static RunFolder open_existing(const std::string& path, const RunFolderOptions& options,
                                 base::Log& log);
  RunFolder(RunFolder&&) noexcept = default;
  RunFolder& operator=(RunFolder&&) noexcept = default;
  ~RunFolder();

  const std::string& path() const { return path_; }
  const std::string& run_uuid() const { return run_uuid_; }
  int attempt() const { return attempt_; }  // 1 for the first
  /// Whether an attempt ran with other mixable settings; reproducible is then 0 in the results.
  bool is_mixed() const { return is_mixed_; }
  const base::Json& frozen() const { return json_["frozen"]; }
  const base::Json& facts() const { return json_["facts"]; }
  std::string results_path() const;
  std::string log_path() const;

  /// Whether, when the folder was opened, it had a results.h5 of this run with status "complete".
  bool is_complete() const { return results_ == Results::complete; }
  /// Whether, when the folder was opened, it had a results.h5 that cannot be read as HDF5.
  bool has_damaged_results() const { return results_ == Results::damaged; }
  /// Verifies every part. Renames damaged and foreign parts to parts/damaged-NAME, and removes
  /// parts whose counterparts of other ep ranks are missing; logs a message for each. Their
  /// sequences count as not done. Throws SystemError(resources) if a part cannot be renamed or
  /// removed.
  Committed committed(base::Log& log);
  /// The same, but changes nothing: `problems` is set to the messages.
  Committed look_at_parts(std::vector<std::string>& problems);
  /// Waits until parts/ has other files than at the last look; false if parts_wait_s is used up.
  /// Network file systems may list files of other nodes up to a minute late.
  bool wait_for_parts(base::Log& log);
  /// Whether the file RUN_DIR/stop exists, by which a user asks for an early stop.
  bool stop_requested() const;
  /// Removes all committed parts.
  void remove_parts();

 private:
  RunFolder(std::string path, const RunFolderOptions& options, base::Log& log);
  void compare(const RunSettings& settings, const RunFolderOptions& options, base::Log& log);
  void remove_temporary();
  void save() const;
  void look_at_results(base::Log& log);
  void list_parts();

  std::string path_;
  FolderLock lock_;
  double parts_wait_s_;
  bool has_said_wait_ = false;
  std::vector<std::string> listed_;  // entries of parts/ at the last look
  base::Json json_;
  std::string run_uuid_;
  int attempt_ = 0;
  enum class Results { absent, unfinished, complete, damaged };
  Results results_ = Results::absent;
  std::string attempt_folder_;  // empty if nothing is left to compute
  bool is_mixed_ = false;
};

/// Throws Refusal(usage) if the folder is not empty and no run has begun in it. To be called
/// before anything is written there. A folder that does not exist is accepted.
void refuse_foreign_folder(const std::string& path);

/// Reads run.json of a folder. Throws Refusal(input) if it is missing or not that of a run.
base::Json read_run_json(const std::string& run_dir);

}  // namespace tetrarch::storage
