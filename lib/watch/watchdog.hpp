/// Ends a job that would otherwise hang: a thread of each rank asks all ranks for their state,
/// without MPI.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <ctime>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <sys/types.h>

#include "mpi/communicator.hpp"
#include "watch/verdict.hpp"
#include "watch/watch_folder.hpp"

namespace tetrarch::watch {

/// When a rank has waited for `limit_s` seconds, its watchdog asks all other ranks for their state.
/// One rank also asks when nobody has asked for that long. Ranks that wait only for ranks that work
/// go on waiting. If a rank does not answer, or ranks wait for each other, the job ends: one rank
/// reports the reason, and each rank writes its last operations to the folder and ends with exit
/// code 6. A rank whose launcher is gone ends with exit code 6 too.
///
/// The watchdog counts only the time in which it runs itself. So a job that was suspended as a
/// whole goes on afterwards.
class Watchdog {
 public:
  /// The ranks of the job, and the folder by which they communicate.
  struct Team {
    std::string folder;  // RUN_DIR/watchdog/START
    int rank = 0;
    std::vector<std::string> hosts;  // host of each rank
  };
  /// Watches the thread that creates it. At first it watches alone: if meet() is not called within
  /// limit_s, MPI has not started on all ranks, and it ends this process.
  explicit Watchdog(double limit_s);
  ~Watchdog();
  /// Watches together with the other ranks from now on.
  void meet(Team team);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  struct Question {
    int number = 0;
    double open_s = 0;
  };

  void watch();
  void look(double seconds);
  void look_alone(double lived_s);
  void notice(double lived_s);
  void hear(const WatchFolder::Found& found);
  void ask();
  void judge_answers();
  [[noreturn]] void end_all(const Verdict& verdict);
  [[noreturn]] void end_with_the_others();
  void dump(const std::string& verdict) const;
  RankState state() const;
  const std::string& host() const { return team_.hosts[static_cast<std::size_t>(team_.rank)]; }

  double limit_s_, poll_s_, grace_s_;
  bool has_launcher_;  // true: the parent process lives as long as the job
  pid_t parent_;
  Team team_;
  std::optional<WatchFolder> folder_;
  clockid_t worker_clock_{};  // CPU clock of the watched thread
  std::uint64_t events_ = 0;
  double worker_cpu_s_ = 0;
  double quiet_s_ = 0;    // seconds since the watched thread did anything
  double unasked_s_ = 0;  // seconds since the last question
  double hold_s_ = 0;     // do not ask for this long: this rank's wait was found to be normal
  int answered_ = 0;      // number of the last question that this rank answered
  std::optional<Question> asked_;  // the question of this rank that is not yet judged
  std::mutex mutex_;
  std::condition_variable stop_;
  bool is_stopping_ = false;
  std::thread thread_;
};

/// Collective. Returns the team with the same folder RUN_DIR/watchdog/START on all ranks. The
/// folder is created only when it is needed.
Watchdog::Team watchdog_team(const std::string& run_dir, const mpi::Communicator& world,
                             const std::vector<std::string>& hosts);

}  // namespace tetrarch::watch
