// Signals that are kept, and signals that end a process; each case runs in a process of its own.
// SPDX-License-Identifier: Apache-2.0
#include "base/stop_signal.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.hpp"

namespace tetrarch::base {
namespace {

/// How a child process that runs `act` has ended: its exit code, or minus the signal's number, and
/// what it wrote on stderr.
struct End {
  int how = 0;
  std::string said;
};
End end_of(const std::function<int()>& act) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    _exit(act());
  }
  ::close(ends[1]);
  End end;
  char letter = 0;
  while (::read(ends[0], &letter, 1) == 1)
    end.said += letter;
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  end.how = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  return end;
}

TEST(StopSignal, TheFirstIsKept) {
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) {
    const End end = end_of([&] {
      keep_stop_signals("", Speaks::at_once);
      const int before = stop_signal();
      std::raise(number);
      return before == 0 && stop_signal() == number ? 0 : 1;
    });
    EXPECT_EQ(end.how, 0);
    EXPECT_EQ(end.said, "");
  }
}

TEST(StopSignal, ASecondOneEndsTheProcessWithOneLine) {
  const End end = end_of([] {
    keep_stop_signals("[rank 3 n07] ", Speaks::at_once);
    std::raise(SIGUSR1);
    std::raise(SIGTERM);
    return 0;
  });

  EXPECT_EQ(end.how, -SIGTERM);
  EXPECT_EQ(end.said,
            "tetrarch: [rank 3 n07] ended at once by a second signal (SIGTERM). Committed work is "
            "kept; the same command does the rest.\n");
}

TEST(StopSignal, WhatIsIgnoredAtTheStartStaysIgnored) {
  const End end = end_of([] {
    std::signal(SIGINT, SIG_IGN);
    keep_stop_signals("", Speaks::at_once);
    std::raise(SIGINT);
    return stop_signal();
  });

  EXPECT_EQ(end.how, 0);
}

TEST(StopSignal, UnfinishedFilesAreRemoved) {
  std::string name = (std::filesystem::temp_directory_path() / "tetrarch-XXXXXX").string();
  const std::string folder = ::mkdtemp(name.data());
  const std::string half = folder + "/half", other = folder + "/other", whole = folder + "/whole";
  for (const std::string& path : {half, other, whole})
    std::ofstream(path) << "text\n";

  const End end = end_of([&] {
    end_on_stop_signals();
    const RemovedOnSignal first(half);
    { const RemovedOnSignal done(whole); }
    const RemovedOnSignal second(other);
    std::raise(SIGINT);
    return 0;
  });

  EXPECT_EQ(end.how, -SIGINT);
  EXPECT_EQ(end.said,
            "tetrarch: ended by SIGINT before it was done (unfinished files are removed). The same "
            "command starts from the beginning.\n");
  EXPECT_FALSE(std::filesystem::exists(half));
  EXPECT_FALSE(std::filesystem::exists(other));
  EXPECT_TRUE(std::filesystem::exists(whole));
  std::filesystem::remove_all(folder);
}

TEST(StopSignal, LongWorkIsRefusedWhenOneWasKept) {
  const End end = end_of([] {
    keep_stop_signals("", Speaks::at_once);
    refuse_when_stopped("nothing came");
    std::raise(SIGTERM);
    try {
      refuse_when_stopped("the inputs were read");
    } catch (const Refusal& error) {
      const std::string message = error.what();
      return message.starts_with("stopped by SIGTERM while the inputs were read")
                 ? static_cast<int>(error.code())
                 : 1;
    }
    return 2;
  });

  EXPECT_EQ(end.how, 85);
}

TEST(StopSignal, HasAName) {
  EXPECT_EQ(signal_name(SIGUSR1), "SIGUSR1");
}

}  // namespace
}  // namespace tetrarch::base
