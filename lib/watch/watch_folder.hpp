/// The files by which the watchdogs of all ranks communicate when MPI cannot.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "watch/rank_state.hpp"

namespace tetrarch::watch {

/// The folder belongs to one start of the program, so that files of an earlier start are ignored.
/// The first question creates it. No function throws: a file that cannot be written or read, on a
/// full or lost file system, counts as absent.
class WatchFolder {
 public:
  /// `path`: RUN_DIR/watchdog/START.
  WatchFolder(std::string path, int rank, int num_ranks);

  const std::string& path() const { return path_; }
  struct Found {
    int question = 0;  // number of the newest question; 0: none
    bool has_verdict = false;
  };
  Found look() const;
  /// Creates the folder and question `number`. Returns true on the one rank that created the
  /// question.
  bool ask(int number) const;
  bool answer(int number, const RankState& state) const;
  /// The answers of all ranks to question `number`; absent for a rank that has not answered.
  std::vector<std::optional<RankState>> answers(int number) const;
  /// Removes questions and answers up to `number`.
  void forget(int number) const;
  /// Publishes a verdict. Returns true on the one rank that was first; that rank reports for all.
  bool publish(const std::string& verdict) const;
  std::string verdict() const;
  void dump(const std::string& text) const;
  bool has_dump(int rank) const;
  /// Removes the folder, unless there is a verdict. Removes its parent folder if it is empty.
  void remove() const;

 private:
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  bool write(const std::string& name, const std::string& text) const;

  std::string path_;
  int rank_, num_ranks_;
};

}  // namespace tetrarch::watch
