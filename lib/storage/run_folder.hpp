/// The folder of a run: who holds it, what it is a run of, and what of it is safely done.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/handle.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "storage/folder_lock.hpp"
#include "storage/part_file.hpp"

namespace tetrarch::storage {

/// What run.json keeps; each a JSON object, nested as deep as wanted.
struct RunSettings {
  /// Must not change on resume. A difference throws UsageError naming the key (dotted), was and is:
  /// weights (4) below "weights", input (3) below "inputs", else usage (2).
  base::Json frozen = base::Json::object();
  /// As frozen, but tolerated with allow_mixed: versions, build, instruction set, backend.
  base::Json mixable = base::Json::object();
  /// Replaced by each attempt: input paths, command line, grid; see merge.hpp for what merge needs.
  base::Json facts = base::Json::object();
};

struct RunFolderOptions {
  bool allow_mixed = false;
  double lock_wait_s = 10;  // how long a held lock is waited for
  bool keep_parts = false;  // also when the results are there
  double parts_wait_s = 0;  // how long wait_for_parts() waits, all calls together
};

/// A sequence and the part that has it.
struct CommittedSequence {
  PartEntry entry;
  int part = 0;  // index into Committed::parts
};
/// What parts hold, each sequence once.
struct Committed {
  std::vector<std::string> parts;              // paths, those that count together in a row
  std::vector<bool> is_whole;                  // of each part: all its sequences are taken from it
  std::vector<CommittedSequence> sequences;    // by rising sequence
  std::map<std::int64_t, std::string> errors;  // of those that failed, by sequence
  std::int64_t num_twice = 0;                  // also in another part, of which the first counts
  bool has(std::int64_t sequence) const { return find(sequence) != nullptr; }
  const CommittedSequence* find(std::int64_t sequence) const;
};

/// Which parts of a run count.
struct PartRules {
  /// > 0: parts of one dp, attempt and number count only together, one of each ep below it.
  int ep_set = 0;
  /// Parts hold sums over all their sequences: they count with all of them or with none.
  bool holds_sums = false;
};
/// From `ep_set` (0 where absent) and `layout` in the facts of run.json.
PartRules part_rules(const base::Json& facts);

/// Who hears what scan_parts() finds. Problems are whole sentences that name the file.
struct PartFindings {
  using Tell = std::function<void(const std::string& path, const std::string& problem)>;
  Tell damaged;    // or foreign
  Tell uncounted;  // sound, but its companions are missing
  Tell spare;      // sound, but some of its sequences count in other parts
};
/// Reads all parts of a folder and changes nothing.
Committed scan_parts(const std::string& run_dir, const std::string& run_uuid,
                     const PartRules& rules, const PartFindings& findings);

/// Held by rank 0 alone, from open to destruction: no second process can open it meanwhile. Other
/// writing ranks need path(), run_uuid() and attempt() for their PartWriter, and nothing else.
class RunFolder {
 public:
  /// Creates the folder or resumes in it: waits for the lock, compares settings, removes temporary
  /// files and a stop request of earlier attempts, and counts the attempt. When is_complete() it
  /// removes what is left of the parts instead.
  /// Throws UsageError(resources) when it is in use, read-only or not a folder, and
  /// UsageError(usage) when its results are another run's.
  static RunFolder open(const std::string& path, const RunSettings& settings,
                        const RunFolderOptions& options, base::Log& log);
  /// Opens a folder that has a run.json, for merge.
  static RunFolder open_existing(const std::string& path, const RunFolderOptions& options,
                                 base::Log& log);
  RunFolder(RunFolder&&) noexcept = default;
  RunFolder& operator=(RunFolder&&) noexcept = default;
  ~RunFolder();

  const std::string& path() const { return path_; }
  const std::string& run_uuid() const { return run_uuid_; }
  int attempt() const { return attempt_; }  // 1 for the first
  /// True when an attempt ran with other mixable settings; reproducible is 0 then.
  bool is_mixed() const { return is_mixed_; }
  const base::Json& frozen() const { return json_["frozen"]; }
  const base::Json& facts() const { return json_["facts"]; }
  std::string results_path() const;
  std::string log_path() const;

  /// results.h5 as it was when the folder was opened: there, of this run, with status "complete".
  bool is_complete() const { return results_ == Results::complete; }
  /// Likewise: there, but no HDF5 file that can be read.
  bool has_damaged_results() const { return results_ == Results::damaged; }
  /// Verifies every part. Damaged and foreign ones are moved to parts/damaged-NAME with a message,
  /// those that lack companions are removed with one, and their sequences count as not done.
  Committed committed(base::Log& log);
  /// The same without changing anything: `problems` become what is wrong with parts.
  Committed look_at_parts(std::vector<std::string>& problems);
  /// Waits until other files are in parts/ than when they were last looked at; false after
  /// parts_wait_s.
  /// Network file systems list what other nodes have written up to a minute late.
  bool wait_for_parts(base::Log& log);
  /// True when somebody has made a file RUN_DIR/stop.
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
  std::vector<std::string> listed_;  // in parts/ when they were last read
  base::Json json_;
  std::string run_uuid_;
  int attempt_ = 0;
  enum class Results { absent, unfinished, complete, damaged };
  Results results_ = Results::absent;
  std::string attempt_folder_;  // empty where there is nothing left to do
  bool is_mixed_ = false;
};

/// Refuses a folder that is not empty and was not begun by a run, before anything is written there:
/// UsageError(usage). Without `path` nothing is wrong.
void refuse_foreign_folder(const std::string& path);

/// run.json of a folder; throws UsageError(input) when it is missing or not one of ours.
base::Json read_run_json(const std::string& run_dir);

}  // namespace tetrarch::storage
