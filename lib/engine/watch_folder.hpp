/// The files through which the watchdogs of all ranks speak, when MPI cannot.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/rank_state.hpp"

namespace tetrarch::engine {

/// Of one start of the program, so that files of an earlier one say nothing. The folder is made by
/// the first question; nothing here throws: what a full or lost file system leaves out is absent.
class WatchFolder {
 public:
  /// `path`: RUN_DIR/watchdog/START.
  WatchFolder(std::string path, int rank, int num_ranks);

  const std::string& path() const { return path_; }
  struct Found {
    int question = 0;  // the newest; 0: none
    bool has_verdict = false;
  };
  Found look() const;
  /// True for the one rank that asks question `number`; makes the folder.
  bool ask(int number) const;
  bool answer(int number, const RankState& state) const;
  /// Of all ranks.
  std::vector<std::optional<RankState>> answers(int number) const;
  /// Takes questions and answers away, up to `number`.
  void forget(int number) const;
  /// True for the one rank that speaks for all.
  bool publish(const std::string& verdict) const;
  std::string verdict() const;
  void dump(const std::string& text) const;
  bool has_dump(int rank) const;
  /// Takes all of it away, unless there is a verdict; folders only where nothing else is in them.
  void remove() const;

 private:
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  bool write(const std::string& name, const std::string& text) const;

  std::string path_;
  int rank_, num_ranks_;
};

}  // namespace tetrarch::engine
