// Questions, answers and a verdict: each is complete, and belongs to this start of the program
// only.
// SPDX-License-Identifier: Apache-2.0
#include "watch/watch_folder.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace tetrarch::watch {
namespace {

namespace fs = std::filesystem;

struct WatchFolderTest : ::testing::Test {
  std::string run_dir = [] {
    std::string name = (fs::temp_directory_path() / "tetrarch-XXXXXX").string();
    return std::string(::mkdtemp(name.data()));
  }();
  WatchFolder first{run_dir + "/watchdog/now", 0, 2}, second{run_dir + "/watchdog/now", 1, 2};

  ~WatchFolderTest() override { fs::remove_all(run_dir); }
  static RankState state(int rank) {
    RankState state;
    state.rank = rank;
    return state;
  }
};

TEST_F(WatchFolderTest, NothingIsThereBeforeAQuestion) {
  EXPECT_EQ(first.look().question, 0);
  EXPECT_FALSE(first.answer(1, state(0)));
  EXPECT_FALSE(fs::exists(run_dir + "/watchdog"));
}

TEST_F(WatchFolderTest, OneRankAsks) {
  EXPECT_TRUE(first.ask(1));
  EXPECT_FALSE(second.ask(1));
  EXPECT_EQ(second.look().question, 1);
  EXPECT_TRUE(second.ask(2));
  EXPECT_EQ(first.look().question, 2);
}

TEST_F(WatchFolderTest, AnswersAreThoseToThisQuestion) {
  first.ask(1);
  first.answer(1, state(0));
  second.answer(1, state(1));
  first.ask(2);
  second.answer(2, state(1));

  EXPECT_TRUE(first.answers(1)[0] && first.answers(1)[1]);
  EXPECT_FALSE(first.answers(2)[0]);
  ASSERT_TRUE(first.answers(2)[1]);
  EXPECT_EQ(first.answers(2)[1]->rank, 1);
}

TEST_F(WatchFolderTest, ADamagedAnswerIsNone) {
  first.ask(1);
  second.answer(1, state(1));
  std::ofstream(first.path() + "/answer-0001-00001") << "{\"rank\": 1";

  EXPECT_FALSE(first.answers(1)[1]);
}

TEST_F(WatchFolderTest, WhatIsForgottenIsGoneAndTheRestStays) {
  first.ask(1);
  first.answer(1, state(0));
  first.ask(2);
  first.answer(2, state(0));

  first.forget(1);

  EXPECT_FALSE(first.answers(1)[0]);
  EXPECT_TRUE(first.answers(2)[0]);
  EXPECT_EQ(first.look().question, 2);
}

TEST_F(WatchFolderTest, OneRankSpeaksForAll) {
  first.ask(1);

  EXPECT_TRUE(first.publish("it was rank 1\n"));
  EXPECT_FALSE(second.publish("it was rank 0\n"));
  EXPECT_TRUE(second.look().has_verdict);
  EXPECT_EQ(second.verdict(), "it was rank 1\n");
}

TEST_F(WatchFolderTest, ItIsTakenAwayUnlessThereIsAVerdict) {
  const WatchFolder earlier(run_dir + "/watchdog/before", 0, 1);
  earlier.ask(1);
  earlier.publish("it was rank 0\n");
  earlier.dump("rank 0 did this\n");
  first.ask(1);

  first.remove();
  earlier.remove();

  EXPECT_FALSE(fs::exists(first.path()));
  EXPECT_TRUE(earlier.has_dump(0));
  EXPECT_EQ(first.look().question, 0);
  EXPECT_FALSE(first.look().has_verdict);
}

TEST_F(WatchFolderTest, WithoutAPlaceToWriteNobodyAsks) {
  std::ofstream(run_dir + "/file") << "in the way";
  const WatchFolder none(run_dir + "/file/watchdog/now", 0, 1);

  EXPECT_FALSE(none.ask(1));
  EXPECT_FALSE(none.publish("nothing\n"));
  EXPECT_EQ(none.look().question, 0);
}

}  // namespace
}  // namespace tetrarch::watch
