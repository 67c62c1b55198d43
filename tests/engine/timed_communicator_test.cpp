// The exchanged rows are the same as without a timeline. Their time is recorded as waiting or
// moving.
// SPDX-License-Identifier: Apache-2.0
#include "engine/timed_communicator.hpp"

#include <thread>

#include <gtest/gtest.h>

#include "backend/cpu/backend.hpp"
#include "mpi/world.hpp"

namespace tetrarch::engine {
namespace {

using base::Activity;
using base::DType;
using base::Phase;

struct Timed : ::testing::Test {
  base::Spent spent(Activity activity) const {
    return timeline.spending()[static_cast<int>(Phase::tp_gather)][static_cast<int>(activity)];
  }
  /// Gathers rows: the row of rank r is r. The last rank calls it late.
  std::vector<float> gather(Meeting meeting) {
    TimedCommunicator timed(*inner, world, meeting, timeline);
    timeline.enter(Phase::other);
    world.barrier();
    timeline.enter(Phase::tp_gather);
    if (world.rank() == world.size() - 1)
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    auto own = static_cast<float>(world.rank());
    std::vector<float> all(static_cast<std::size_t>(world.size()), -1);
    const std::vector<std::int64_t> counts(all.size(), 1);
    timed.all_gather_v({&own, DType::f32, 1, 1, 1}, counts,
                       {all.data(), DType::f32, 1, world.size(), 1});
    timeline.enter(Phase::other);
    return all;
  }

  mpi::Communicator world = mpi::everyone();
  std::unique_ptr<backend::Backend> backend = backend::make_cpu_backend(world, 1);
  std::unique_ptr<backend::Communicator> inner =
      backend->make_communicator(mpi::ranks_up_to(world.size()), "all");
  base::Timeline timeline;
};

TEST_F(Timed, RanksThatMeetFirstWaitForTheLastOne) {
  const std::vector<float> all = gather(Meeting::first);

  for (int rank = 0; rank < world.size(); ++rank)
    EXPECT_EQ(all[static_cast<std::size_t>(rank)], static_cast<float>(rank));
  if (world.size() == 1) {
    EXPECT_EQ(spent(Activity::waiting).seconds + spent(Activity::moving).seconds, 0);
  } else if (world.rank() == world.size() - 1) {
    EXPECT_GE(spent(Activity::work).seconds, 0.200);
  } else {
    EXPECT_GE(spent(Activity::waiting).seconds, 0.010);
    EXPECT_GT(spent(Activity::moving).seconds, 0);
  }
}

TEST_F(Timed, WithoutMeetingAllIsMoving) {
  gather(Meeting::none);

  EXPECT_EQ(spent(Activity::waiting).seconds, 0);
  if (world.size() > 1 && world.rank() != world.size() - 1) {
    EXPECT_GE(spent(Activity::moving).seconds, 0.010);
  }
}

TEST_F(Timed, WhatIsReceivedIsWaitedFor) {
  TimedCommunicator timed(*inner, world, Meeting::none, timeline);
  timeline.enter(Phase::tp_gather);
  float value = world.rank() == 0 ? 4.5f : 0;
  const backend::Tensor tensor{&value, DType::f32, 1, 1, 1};

  if (world.rank() == 0)
    for (int to = 1; to < world.size(); ++to)
      timed.send(tensor, to);
  else
    timed.receive(tensor, 0);

  EXPECT_EQ(value, 4.5f);
  EXPECT_EQ(spent(Activity::waiting).seconds > 0, world.rank() > 0);
  EXPECT_EQ(spent(Activity::moving).seconds > 0, world.rank() == 0 && world.size() > 1);
}

}  // namespace
}  // namespace tetrarch::engine
