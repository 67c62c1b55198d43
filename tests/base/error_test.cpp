// The three kinds of errors: their exit codes and messages.
// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <gtest/gtest.h>

namespace tetrarch::base {
namespace {

TEST(Error, RefusalKeepsItsCodeAndItsMessageAsWritten) {
  const Refusal error(ExitCode::weights, "bad (why). do.");

  EXPECT_EQ(error.code(), ExitCode::weights);
  EXPECT_STREQ(error.what(), "bad (why). do.");
}

TEST(Error, SystemErrorSaysWhereItWasThrown) {
  const auto line = __LINE__ + 1;
  const SystemError error(ExitCode::resources, "disk full");

  EXPECT_EQ(error.code(), ExitCode::resources);
  EXPECT_EQ(std::string(error.what()), "disk full [error_test.cpp:" + std::to_string(line) + "]");
}

TEST(Error, AForeignNameInAMessageIsPrintableAndBounded) {
  const Refusal odd(ExitCode::input, "a\x1b[2J.h5: bad\n  key \xff");
  const SystemError raw(ExitCode::resources, "b\r.h5");
  const Refusal endless(ExitCode::input, std::string(100'000, 'x'));
  const Refusal lines(ExitCode::input, std::string(100'000, '\n'));

  EXPECT_STREQ(odd.what(), "a\\x1b[2J.h5: bad\n  key \\xff");
  EXPECT_EQ(std::string(raw.what()).find("b\\x0d.h5"), 0u);
  EXPECT_LT(std::string(endless.what()).size(), 9000u);
  EXPECT_LT(std::string(lines.what()).size(), 9000u);
}

TEST(Error, ExpectsPassesWhatHoldsAndNamesWhatDoesNot) {
  EXPECT_NO_THROW(expects(true, "the sky to be blue"));
  try {
    expects(false, "the sky to be green");
    ADD_FAILURE() << "nothing was thrown";
  } catch (const InternalError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("the sky to be green"), std::string::npos) << message;
    EXPECT_NE(message.find("error_test.cpp:"), std::string::npos) << message;
  }
}

TEST(Error, DebugChecksThrowOnlyInBuildsThatHaveThem) {
  EXPECT_NO_THROW(expects_in_debug(true, "the sky to be blue"));
  std::string message;
  try {
    expects_in_debug(false, "the sky to be green");
  } catch (const InternalError& error) {
    message = error.what();
  }
  EXPECT_EQ(message.find("the sky to be green") != std::string::npos, has_debug_checks) << message;
  EXPECT_EQ(message.find("error_test.cpp:") != std::string::npos, has_debug_checks) << message;
#ifdef NDEBUG
  EXPECT_FALSE(has_debug_checks);
#else
  EXPECT_TRUE(has_debug_checks);
#endif
}

TEST(Error, CodesAreThoseOfTheContractWithJobScripts) {
  EXPECT_EQ(static_cast<int>(ExitCode::done), 0);
  EXPECT_EQ(static_cast<int>(ExitCode::internal), 1);
  EXPECT_EQ(static_cast<int>(ExitCode::usage), 2);
  EXPECT_EQ(static_cast<int>(ExitCode::input), 3);
  EXPECT_EQ(static_cast<int>(ExitCode::weights), 4);
  EXPECT_EQ(static_cast<int>(ExitCode::resources), 5);
  EXPECT_EQ(static_cast<int>(ExitCode::communication), 6);
  EXPECT_EQ(static_cast<int>(ExitCode::numerical), 7);
  EXPECT_EQ(static_cast<int>(ExitCode::done_with_failures), 8);
  EXPECT_EQ(static_cast<int>(ExitCode::stopped_early), 85);
}

}  // namespace
}  // namespace tetrarch::base
