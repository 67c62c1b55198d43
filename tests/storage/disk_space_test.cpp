// Free space on the file system, and messages if there is too little.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/disk_space.hpp"

#include "base/error.hpp"
#include "run_fixture.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

TEST(DiskSpace, IsThatOfTheNearestFolderThatExists) {
  const TemporaryFolder folder;

  const auto there = free_bytes(folder.path()), deep = free_bytes(folder / "a/b/c.h5");

  ASSERT_TRUE(there && deep);
  EXPECT_GT(*there, 0);
  EXPECT_GT(*deep, 0);
}

TEST(DiskSpace, AFailedWriteSaysWhatItNeedsAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::string path = folder / "torn";

  try {
    with_space(path, 3 << 20, [&] {
      std::ofstream(path) << "half";
      throw base::SystemError(ExitCode::resources, path + ": cannot be written (full). Free some.");
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const base::SystemError& error) {
    const std::string text = error.what();
    EXPECT_TRUE(text.starts_with(path + ": cannot be written (full). Free some. It needs about "
                                        "3.00 MiB, and "))
        << text;
    EXPECT_EQ(std::ranges::count(text, '['), 1) << text;
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(DiskSpace, WhatTurnsOutWrongInAFileOfOursIsNoRefusal) {
  const TemporaryFolder folder;
  const auto fail = [] { throw base::Refusal(ExitCode::resources, "it is gone."); };

  EXPECT_THROW(with_space(folder / "x", 1, fail), base::SystemError);
}

TEST(DiskSpace, TooLittleIsSaidBeforeTheRun) {
  const TemporaryFolder folder;
  base::Log log(base::Log::Sink::terminal);
  testing::internal::CaptureStdout();

  note_scarce_space(folder.path(), 1, log);
  note_scarce_space(folder.path(), std::int64_t{1} << 60, log);

  const std::string said = testing::internal::GetCapturedStdout();
  EXPECT_EQ(std::ranges::count(said, '\n'), 1) << said;
  EXPECT_NE(said.find(folder.path() + ": parts and results need about 1024.00 PiB more"),
            std::string::npos)
      << said;
}

}  // namespace
}  // namespace tetrarch::storage
