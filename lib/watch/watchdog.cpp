// SPDX-License-Identifier: Apache-2.0
#include "watch/watchdog.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/host_name.hpp"
#include "base/text.hpp"
#include "mpi/launcher.hpp"
#include "watch/flight_dump.hpp"

namespace tetrarch::watch {
namespace {

using Clock = std::chrono::steady_clock;

// CPU seconds per second; a thread outside MPI with less is stuck
constexpr double least_work = 1e-3;
constexpr double dump_wait_s = 5;  // longest wait for the dumps of other ranks
// time in which a launcher ends the other ranks after one has failed
constexpr double launcher_s = 5;
constexpr int most_turns = 12;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

Clock::time_point after(double seconds) {
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

double cpu_seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

void say(const std::string& message) {
  const std::string line = "tetrarch: " + message + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

[[noreturn]] void end_process() {
  _exit(static_cast<int>(base::ExitCode::communication));
}

}  // namespace

Watchdog::Watchdog(double limit_s)
    : limit_s_(limit_s),
      poll_s_(std::clamp(limit_s / 20, 0.2, 15.0)),
      // network file systems may need up to a minute to show a new file on other nodes
      grace_s_(std::clamp(limit_s / 4, 2.0, 75.0)),
      has_launcher_(mpi::find_launcher().name != "none"),
      parent_(getppid()) {
  // read before MPI starts, because MPI changes the environment
  team_.rank = mpi::find_launcher().rank;
  pthread_getcpuclockid(pthread_self(), &worker_clock_);
  thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
  if (folder_ && team_.rank == 0) folder_->remove();
}

void Watchdog::meet(Team team) {
  const std::lock_guard lock(mutex_);
  team_ = std::move(team);
  folder_.emplace(team_.folder, team_.rank, static_cast<int>(team_.hosts.size()));
  quiet_s_ = unasked_s_ = 0;
}

void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  Clock::time_point last = Clock::now();
  while (!stop_.wait_for(lock, std::chrono::duration<double>(poll_s_),
                         [this] { return is_stopping_; })) {
    const Clock::time_point now = Clock::now();
    look(seconds_between(last, now));
    last = now;
  }
}

void Watchdog::look(double seconds) {
  if (has_launcher_ && getppid() != parent_) end_process();
  const double lived_s = std::min(seconds, 2 * poll_s_);
  if (!folder_) return look_alone(lived_s);
  notice(lived_s);
  const WatchFolder::Found found = folder_->look();
  if (found.has_verdict) end_with_the_others();
  if (found.question > answered_) hear(found);
  if (asked_) {
    judge_answers();
  } else if ((quiet_s_ >= limit_s_ && unasked_s_ >= hold_s_) ||
             // If nobody has asked for a while, rank 0 asks, even without a suspicion. If rank 0 is
             // stopped, another rank asks a little later.
             unasked_s_ >= std::max(limit_s_, 2 * grace_s_) + (team_.rank == 0 ? 0 : 4 * poll_s_)) {
    ask();
  }
}

/// Ends this process if MPI has not started on all ranks within limit_s. Rank 0 reports it. If rank
/// 0 is itself stopped, the next rank reports it launcher_s later, and so on: if a lower rank had
/// reported it, the launcher would have ended this one by then.
void Watchdog::look_alone(double lived_s) {
  unasked_s_ += lived_s;
  if (unasked_s_ < limit_s_ + launcher_s * std::min(team_.rank, most_turns)) return;
  say(
      fmt::format("[rank {} {}] MPI has not started on all ranks within {:.0f} s (a rank is "
                  "stopped, or a node is lost). Start the same command again; if MPI needs longer "
                  "to start, with a larger --watchdog.",
                  team_.rank, base::host_name(), unasked_s_));
  end_process();
}

/// Updates quiet_s_: has the watched thread begun or ended an operation, or computed, in the last
/// `lived_s` seconds?
void Watchdog::notice(double lived_s) {
  const base::FlightStatus status = base::flight_recorder().status();
  const double cpu_s = cpu_seconds(worker_clock_);
  const bool has_computed = !status.running && cpu_s - worker_cpu_s_ >= least_work * lived_s;
  const bool has_moved = std::exchange(events_, status.events) != status.events;
  worker_cpu_s_ = cpu_s;
  quiet_s_ = has_moved || has_computed ? 0 : quiet_s_ + lived_s;
  unasked_s_ += lived_s;
  if (asked_) asked_->open_s += lived_s;
}

RankState Watchdog::state() const {
  return own_state(team_.rank, quiet_s_, base::flight_recorder().status());
}

void Watchdog::hear(const WatchFolder::Found& found) {
  // the newer question of another rank replaces it
  if (asked_ && found.question > asked_->number) asked_.reset();
  answered_ = found.question;
  folder_->answer(found.question, state());
  unasked_s_ = 0;
  // do not ask again before the rank that asked has judged
  hold_s_ = quiet_s_ >= limit_s_ ? std::max(limit_s_, 2 * grace_s_) : 0;
}

void Watchdog::ask() {
  const int number = answered_ + 1;
  if (!folder_->ask(number)) {  // another rank was first, or the file cannot be created
    hold_s_ = limit_s_;
    unasked_s_ = 0;
    return;
  }
  hear({number, false});
  asked_ = Question{number, 0};
}

void Watchdog::judge_answers() {
  const std::vector<std::optional<RankState>> answers = folder_->answers(asked_->number);
  const auto is_suspicious = [&](const std::optional<RankState>& state) {
    return state && state->quiet_s >= limit_s_;
  };
  const bool is_complete = std::ranges::all_of(answers, [](const auto& a) { return !!a; });
  const bool is_urgent = std::ranges::any_of(answers, is_suspicious);
  const bool is_over = asked_->open_s >= (is_urgent ? grace_s_ : limit_s_ + grace_s_);
  if (!is_complete && !is_over) return;
  // if its own answer is missing, the folder cannot be written
  if (answers[static_cast<std::size_t>(team_.rank)]) {
    const Verdict verdict = judge(answers, team_.hosts, team_.rank, limit_s_,
                                  is_over ? Silence::judged : Silence::tolerated);
    if (!verdict.ranks.empty()) end_all(verdict);
    hold_s_ = verdict.look_again_s;
  }
  folder_->forget(asked_->number);
  asked_.reset();
  unasked_s_ = 0;
}

void Watchdog::end_all(const Verdict& verdict) {
  const std::string line = fmt::format(
      "{}. The job ends. Start the same command again; committed work is kept (last operations of "
      "each rank: {}).",
      verdict.problem, folder_->path());
  if (!folder_->publish(line + "\n")) end_with_the_others();
  say(fmt::format("[rank {} {}] {}", team_.rank, host(), line));
  dump(line);
  // the launcher ends the other ranks as soon as this process ends, so wait for their dumps first
  const auto answers = folder_->answers(answered_);
  const Clock::time_point until = after(2 * poll_s_ + dump_wait_s);
  const auto is_left = [&](int rank) {
    return answers[static_cast<std::size_t>(rank)] && !folder_->has_dump(rank);
  };
  for (int rank = 0; rank < std::ssize(answers) && Clock::now() < until;) {
    if (!is_left(rank)) {
      ++rank;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  folder_->forget(answered_);
  end_process();
}

void Watchdog::end_with_the_others() {
  dump(folder_->verdict());
  // the rank that reports removes the question when it is done
  const Clock::time_point until = after(2 * poll_s_ + 2 * dump_wait_s);
  while (folder_->look().question > 0 && Clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  end_process();
}

void Watchdog::dump(const std::string& verdict) const {
  const std::string head =
      fmt::format("tetrarch {}, rank {} of {}, host {}, process {}\nverdict: {}\n", base::utc_now(),
                  team_.rank, team_.hosts.size(), host(), getpid(), verdict);
  folder_->dump(flight_dump(head, state()));
}

Watchdog::Team watchdog_team(const std::string& run_dir, const mpi::Communicator& world,
                             const std::vector<std::string>& hosts) {
  std::string start = fmt::format("{}-{}", base::utc_now(), getpid());
  std::erase(start, ':');
  start = world.broadcast(start, 0);
  return {run_dir + "/watchdog/" + start, world.rank(), hosts};
}

}  // namespace tetrarch::watch
