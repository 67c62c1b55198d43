// Processes that wait, work or are stopped, each with its watchdog: tests which end and which go
// on.
// SPDX-License-Identifier: Apache-2.0
#include "watch/watchdog.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <utility>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/flight_recorder.hpp"

namespace tetrarch::watch {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr double limit_s = 0.8;
constexpr int lost = 6;  // exit code for a lost rank

struct WatchdogTest : ::testing::Test {
  std::string run_dir = [] {
    std::string name = (fs::temp_directory_path() / "tetrarch-XXXXXX").string();
    return std::string(::mkdtemp(name.data()));
  }();
  std::string folder = run_dir + "/watchdog/now";
  std::vector<pid_t> processes;

  ~WatchdogTest() override {
    for (const pid_t process : processes)
      if (process > 0) ::kill(process, SIGKILL);
    fs::remove_all(run_dir);
  }

  /// Starts a process as rank `rank` of `size`; its watched thread runs `act`.
  void start(int rank, int size, const std::function<void()>& act) {
    const pid_t process = ::fork();
    if (process == 0) {
      {
        Watchdog watchdog(limit_s);
        watchdog.meet({folder, rank, std::vector<std::string>(size, "here")});
        act();
      }
      _exit(0);
    }
    processes.push_back(process);
  }
  /// The exit code of a rank; -1 if a signal ended it.
  int end_of(std::size_t rank) {
    int status = 0;
    ::waitpid(std::exchange(processes[rank], 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string text_of(const std::string& name) const {
    std::ifstream stream(folder + "/" + name);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  }
  void expect_verdict(const std::string& words) const {
    EXPECT_NE(text_of("verdict.txt").find(words), std::string::npos) << text_of("verdict.txt");
  }
  /// Waits until the file RUN_DIR/name exists.
  void wait_for(const std::string& name) const {
    while (!fs::exists(run_dir + "/" + name))
      ::usleep(10'000);
  }
  void make(const std::string& name) const { std::ofstream(run_dir + "/" + name) << "done\n"; }
};

void compute(double seconds) {
  const auto until = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < until) {
  }
}

/// Waits as in a collective: it ends when `until` returns.
void exchange(const char* name, std::vector<int> ranks, const std::function<void()>& until) {
  const base::GroupHandle group = base::flight_recorder().add_group(name, std::move(ranks));
  const base::Operation running(*group.get(), {"barrier"});
  until();
}

[[noreturn]] void for_ever() {
  for (;;)
    ::pause();
}

TEST_F(WatchdogTest, RanksThatWaitForEachOtherEndWithTheirDumps) {
  start(0, 2, [] { exchange("tp", {0, 1}, for_ever); });
  start(1, 2, [] { exchange("world", {0, 1}, for_ever); });

  EXPECT_EQ(end_of(0), lost);
  EXPECT_EQ(end_of(1), lost);
  expect_verdict("Start the same command again");
  EXPECT_NE(text_of("rank-00000.txt").find("barrier"), std::string::npos);
  EXPECT_NE(text_of("rank-00001.txt").find("running"), std::string::npos);
}

TEST_F(WatchdogTest, WhoWaitsForARankThatComputesGoesOn) {
  start(0, 2, [&] { exchange("tp", {0, 1}, [&] { wait_for("computed"); }); });
  start(1, 2, [&] {
    compute(3 * limit_s);
    make("computed");
    exchange("tp", {0, 1}, [] {});
  });

  EXPECT_EQ(end_of(1), 0);
  EXPECT_EQ(end_of(0), 0);
  EXPECT_FALSE(fs::exists(run_dir + "/watchdog"));
}

TEST_F(WatchdogTest, AnExchangeThatMovesGoesOn) {
  const auto move = [] {
    for (const auto until = Clock::now() + std::chrono::duration<double>(4 * limit_s);
         Clock::now() < until; ::usleep(100'000))
      base::flight_recorder().moved();
  };
  start(0, 2, [&] { exchange("tp", {0, 1}, move); });
  start(1, 2, [&] { exchange("tp", {0, 1}, move); });

  EXPECT_EQ(end_of(0), 0);
  EXPECT_EQ(end_of(1), 0);
}

TEST_F(WatchdogTest, AStoppedRankIsNamed) {
  start(0, 3, [] { exchange("tp", {0, 1}, for_ever); });
  start(1, 3, for_ever);
  start(2, 3, [] { exchange("world", {0, 1, 2}, for_ever); });
  ::kill(processes[1], SIGSTOP);

  EXPECT_EQ(end_of(0), lost);
  EXPECT_EQ(end_of(2), lost);
  expect_verdict("rank 1 (host here) does not answer");
}

TEST_F(WatchdogTest, AlsoOneForWhomNobodyWaits) {
  start(0, 2, [] { compute(60); });
  start(1, 2, [] { compute(60); });
  ::kill(processes[1], SIGSTOP);

  EXPECT_EQ(end_of(0), lost);
  expect_verdict("rank 1 (host here) does not answer");
}

TEST_F(WatchdogTest, ARankThatIsStuckOutsideExchangesIsNamed) {
  start(0, 2, [] { exchange("tp", {0, 1}, for_ever); });
  start(1, 2, for_ever);

  EXPECT_EQ(end_of(0), lost);
  EXPECT_EQ(end_of(1), lost);
  expect_verdict("rank 1 (host here) has done nothing");
}

TEST_F(WatchdogTest, AJobThatWasSuspendedAsAWholeGoesOn) {
  for (int rank = 0; rank < 2; ++rank)
    start(rank, 2, [] { compute(3 * limit_s + 2); });  // 2 s of it run after the pause
  const auto all = [&](int signal) {
    for (const pid_t process : processes)
      ::kill(process, signal);
  };
  ::usleep(300'000);
  all(SIGSTOP);
  ::usleep(static_cast<useconds_t>(3e6 * limit_s));
  all(SIGCONT);

  EXPECT_EQ(end_of(0), 0);
  EXPECT_EQ(end_of(1), 0);
}

TEST_F(WatchdogTest, FilesOfAnEarlierStartSayNothing) {
  const WatchFolder earlier(run_dir + "/watchdog/before", 0, 1);
  earlier.ask(1);
  earlier.publish("it was rank 0\n");

  start(0, 1, [] { compute(0.7); });

  EXPECT_EQ(end_of(0), 0);
  EXPECT_EQ(earlier.verdict(), "it was rank 0\n");
}

TEST_F(WatchdogTest, ARankThatNeverMeetsTheOthersEnds) {
  const pid_t process = ::fork();
  if (process == 0) {
    const Watchdog watchdog(limit_s);
    for_ever();
  }
  processes.push_back(process);

  EXPECT_EQ(end_of(0), lost);
}

}  // namespace
}  // namespace tetrarch::watch
