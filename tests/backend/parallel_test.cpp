// Items that threads share: each is done exactly once, even if threads differ in speed.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/parallel.hpp"

#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace tetrarch::backend::cpu {
namespace {

TEST(Share, TheOwnerTakesFromTheFrontOthersFromTheBack) {
  Share share;
  share.set(3, 6);

  EXPECT_EQ(share.take_first(), 3);
  EXPECT_EQ(share.take_last(), 5);
  EXPECT_EQ(share.take_first(), 4);
  EXPECT_EQ(share.take_first(), -1);
  EXPECT_EQ(share.take_last(), -1);
}

TEST(ForWork, EachItemIsDoneOnceAndASlowThreadLeavesItsOwnToOthers) {
  constexpr std::int64_t count = 64;
  std::vector<std::int64_t> work_before(1, 0);
  for (std::int64_t i = 0; i < count; ++i)
    work_before.push_back(work_before.back() + worth_waking);
  std::multiset<std::int64_t> done;
  std::vector<std::size_t> done_by_thread;
  std::mutex mutex;

  omp_set_num_threads(2);
  for_work(work_before, [&](const auto& next_item) {
    std::vector<std::int64_t> mine;
    bool is_slow = false;
    for (std::int64_t item = next_item(); item >= 0; item = next_item()) {
      is_slow |= item == 0;
      if (is_slow) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      mine.push_back(item);
    }
    const std::lock_guard lock(mutex);
    done.insert(mine.begin(), mine.end());
    done_by_thread.push_back(mine.size());
  });

  std::multiset<std::int64_t> all;
  for (std::int64_t i = 0; i < count; ++i)
    all.insert(i);
  EXPECT_EQ(done, all);
  ASSERT_FALSE(done_by_thread.empty());
  if (done_by_thread.size() == 2) {
    EXPECT_NE(done_by_thread[0], done_by_thread[1]);
  }
}

}  // namespace
}  // namespace tetrarch::backend::cpu
