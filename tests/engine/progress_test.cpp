// Progress lines are printed when they are due.
// SPDX-License-Identifier: Apache-2.0
#include "engine/progress.hpp"

#include <regex>
#include <thread>

#include <gtest/gtest.h>

namespace tetrarch::engine {
namespace {

std::string said_by(base::Log::Sink sink, double interval_s, std::int64_t sequences,
                    std::int64_t tokens) {
  base::Log log(sink);
  Progress progress(log, interval_s, 1200, 10000);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  testing::internal::CaptureStdout();
  progress.update(sequences, tokens);
  return testing::internal::GetCapturedStdout();
}

TEST(Progress, ALineTellsShareRateAndTimeLeft) {
  const std::string line = said_by(base::Log::Sink::terminal, 0, 600, 2500);

  EXPECT_TRUE(std::regex_match(
      line, std::regex(R"(\[\d\d:\d\d:\d\d\]  25 %  600/1,200 sequences, [\d.]+ tokens/s )"
                       R"(\(last 0 s: [\d.]+\), [\d.]+ s left, done at \d\d:\d\d:\d\d\n)")))
      << line;
}

TEST(Progress, NothingIsSaidBeforeTheIntervalIsOver) {
  EXPECT_EQ(said_by(base::Log::Sink::terminal, 100, 600, 2500), "");
}

TEST(Progress, NothingIsSaidWhenAllIsDone) {
  EXPECT_EQ(said_by(base::Log::Sink::terminal, 0, 1200, 10000), "");
}

TEST(Progress, ASilentLogStaysSilent) {
  EXPECT_EQ(said_by(base::Log::Sink::none, 0, 600, 2500), "");
}

TEST(Progress, AfterALineTheIntervalBeginsAnew) {
  base::Log log(base::Log::Sink::terminal);
  Progress progress(log, 0.05, 10, 100);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  testing::internal::CaptureStdout();

  progress.update(1, 10);
  progress.update(2, 20);

  const std::string said = testing::internal::GetCapturedStdout();
  EXPECT_NE(said.find("10 %"), std::string::npos) << said;
  EXPECT_EQ(said.find("20 %"), std::string::npos) << said;
}

}  // namespace
}  // namespace tetrarch::engine
