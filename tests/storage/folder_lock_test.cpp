// The lock of a folder: it has one holder at a time, also while its file is removed and made again.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/folder_lock.hpp"

#include <atomic>
#include <optional>
#include <thread>

#include "run_fixture.hpp"

namespace tetrarch::storage {
namespace {

struct FolderLockTest : ::testing::Test {
  TemporaryFolder folder;
  std::string path = folder / "lock";
  base::Log log{base::Log::Sink::none};
};

TEST_F(FolderLockTest, ItNamesItsHolderAndIsGoneAfterwards) {
  {
    const FolderLock lock(path, 0, log);
    const std::string text = read_text_file(path, 1000);
    EXPECT_NE(text.find("\"pid\":" + std::to_string(::getpid())), std::string::npos) << text;
  }

  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(FolderLockTest, WhatADeadHolderWroteIsReplaced) {
  std::ofstream(path) << std::string(400, 'x');

  const FolderLock lock(path, 0, log);

  EXPECT_EQ(read_text_file(path, 1000).find('x'), std::string::npos);
}

TEST_F(FolderLockTest, OneThatIsRefusedLeavesTheHoldersFile) {
  const FolderLock lock(path, 0, log);

  const Refused refusal = refusal_of([&] { FolderLock(path, 0.1, log); });

  EXPECT_EQ(refusal.code, base::ExitCode::resources);
  EXPECT_NE(refusal.message.find(" since 2"), std::string::npos) << refusal.message;
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(FolderLockTest, OneThatWaitedHoldsTheFileThatIsThere) {
  std::optional<FolderLock> first(std::in_place, path, 0, log);
  std::optional<FolderLock> second;
  std::thread waiting([&] { second.emplace(path, 30, log); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));

  first.reset();
  waiting.join();

  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_EQ(refusal_of([&] { FolderLock(path, 0, log); }).code, base::ExitCode::resources);
}

TEST_F(FolderLockTest, OfManyOneHoldsItAtATime) {
  std::atomic<int> num_holders = 0, most = 0, num_held = 0;
  const auto hold = [&] {
    base::Log silent(base::Log::Sink::none);
    for (int i = 0; i < 5; ++i) {
      const FolderLock lock(path, 60, silent);
      most = std::max(most.load(), ++num_holders);
      ++num_held;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      --num_holders;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i)
    threads.emplace_back(hold);
  for (std::thread& thread : threads)
    thread.join();

  EXPECT_EQ(most, 1);
  EXPECT_EQ(num_held, 30);
}

}  // namespace
}  // namespace tetrarch::storage
