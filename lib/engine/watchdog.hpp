/// Ends a job that would hang: a thread that asks all ranks what they are at, without MPI.
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

#include "engine/verdict.hpp"
#include "engine/watch_folder.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// A rank that has waited for `limit_s` asks all others; so does one of them when nobody has asked
/// for as long. Ranks that only wait for others who work go on waiting. A rank that does not
/// answer, or ranks that wait for each other, end the job: one of the ranks says why, each leaves a
/// dump of its last operations in the folder and ends with exit code 6. So does a rank whose
/// launcher is gone.
///
/// Its clock runs only while it runs itself: a job that was suspended as a whole goes on.
class Watchdog {
 public:
  /// All ranks, and the folder in which they ask each other.
  struct Team {
    std::string folder;  // RUN_DIR/watchdog/START
    int rank = 0;
    std::vector<std::string> hosts;  // of all ranks
  };
  /// Watches the thread that makes it, alone at first: without a team for `limit_s` it ends this
  /// process, since MPI has not started for all.
  explicit Watchdog(double limit_s);
  ~Watchdog();
  /// From now on together with the others.
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
  bool has_launcher_;  // the parent process lives as long as the job
  pid_t parent_;
  Team team_;
  std::optional<WatchFolder> folder_;
  clockid_t worker_clock_{};  // CPU time of the thread that is watched
  std::uint64_t events_ = 0;
  double worker_cpu_s_ = 0;
  double quiet_s_ = 0;             // since the watched thread did anything
  double unasked_s_ = 0;           // since the last question
  double hold_s_ = 0;              // so long this rank's own wait has been explained
  int answered_ = 0;               // number of the last question
  std::optional<Question> asked_;  // by this rank, not yet judged
  std::mutex mutex_;
  std::condition_variable stop_;
  bool is_stopping_ = false;
  std::thread thread_;
};

/// Collective: the same folder for all ranks, RUN_DIR/watchdog/START, made only when it is needed.
Watchdog::Team watchdog_team(const std::string& run_dir, const mpi::Communicator& world,
                             const std::vector<std::string>& hosts);

}  // namespace tetrarch::engine
