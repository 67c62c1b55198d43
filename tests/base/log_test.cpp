// The log writes whole lines to the terminal and to a file; a silent log writes nothing.
// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace tetrarch::base {
namespace {

struct LogTest : ::testing::Test {
  LogTest() {
    std::string name = (std::filesystem::temp_directory_path() / "tetrarch-XXXXXX").string();
    folder = ::mkdtemp(name.data());
  }
  ~LogTest() override { std::filesystem::remove_all(folder); }
  std::string file() const { return folder + "/log.txt"; }
  std::string in_file() const {
    std::ifstream stream(file());
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  std::string folder;
};

TEST_F(LogTest, EveryLineIsInTheFileAtOnce) {
  Log log(Log::Sink::terminal);
  testing::internal::CaptureStdout();

  log.line("before");
  log.also_to(file());
  log.say("{} of {}", 1, 2);
  log.note("mind this");

  EXPECT_EQ(in_file(), "1 of 2\nNOTE  mind this\n");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "before\n1 of 2\nNOTE  mind this\n");
}

TEST_F(LogTest, ASecondAttemptAppends) {
  testing::internal::CaptureStdout();
  for (const char* attempt : {"first", "second"}) {
    Log log(Log::Sink::terminal);
    log.also_to(file());
    log.line(attempt);
  }
  testing::internal::GetCapturedStdout();

  EXPECT_EQ(in_file(), "first\nsecond\n");
}

TEST_F(LogTest, AFullDiskIsSaidOnceAndStopsNothing) {
  Log log(Log::Sink::terminal);
  log.also_to("/dev/full");
  testing::internal::CaptureStdout();

  log.line("one");
  log.line("two");

  const std::string said = testing::internal::GetCapturedStdout();
  EXPECT_TRUE(said.starts_with("one\nNOTE  /dev/full: cannot be written (No space left on device)"))
      << said;
  EXPECT_TRUE(said.ends_with("\ntwo\n")) << said;
  EXPECT_EQ(std::ranges::count(said, '\n'), 3);
}

TEST_F(LogTest, ALineThatAKilledAttemptLeftHalfWrittenIsEnded) {
  std::ofstream(file()) << "half a li";
  testing::internal::CaptureStdout();
  Log log(Log::Sink::terminal);

  log.also_to(file());
  log.line("next");

  testing::internal::GetCapturedStdout();
  EXPECT_EQ(in_file(), "half a li\nnext\n");
}

TEST_F(LogTest, ALinkIsNotFollowed) {
  std::ofstream(folder + "/precious") << "keep me";
  std::filesystem::create_symlink(folder + "/precious", file());
  Log log(Log::Sink::terminal);

  EXPECT_THROW(log.also_to(file()), SystemError);
}

TEST_F(LogTest, ASilentOneSaysNothingAndMakesNoFile) {
  Log log(Log::Sink::none);
  testing::internal::CaptureStdout();

  log.also_to(file());
  log.line("a");
  log.say("{}", "b");
  log.note("c");

  EXPECT_TRUE(log.is_silent());
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(LogTest, AFileThatCannotBeOpenedIsRefusedByName) {
  Log log(Log::Sink::terminal);
  try {
    log.also_to(folder + "/none/log.txt");
    ADD_FAILURE() << "nothing was refused";
  } catch (const SystemError& error) {
    EXPECT_EQ(error.code(), ExitCode::resources);
    EXPECT_NE(std::string(error.what()).find(folder + "/none/log.txt"), std::string::npos);
  }
}

}  // namespace
}  // namespace tetrarch::base
