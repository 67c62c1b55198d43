// The exchanged rows are the same as without a timeline. Their time is recorded as waiting or
// moving.
// SPDX-License-Identifier: Apache-2.0
#include "engine/timed_communicator.hpp"

#include <thread>

#include <gtest/gtest.h>

#include "backends_at_hand.hpp"

namespace tetrarch::engine {
namespace {

using base::Activity;
using base::Phase;

struct Timed : backend::EachBackend {
  base::Spent spent(Activity activity) const {
    return timeline.spending()[static_cast<int>(Phase::tp_gather)][static_cast<int>(activity)];
  }
  /// Gathers rows: the row of rank r is r. The last rank calls it late.
  std::vector<float> gather(Meeting meeting) {
    TimedCommunicator timed(*inner, world, meeting, timeline);
    const backend::Uploaded own(*backend, std::vector{static_cast<float>(world.rank())}, 1);
    const std::vector<std::int64_t> counts(static_cast<std::size_t>(world.size()), 1);
    const backend::Uploaded all(*backend, std::vector<float>(counts.size(), -1), 1);
    timeline.enter(Phase::other);
    world.barrier();
    timeline.enter(Phase::tp_gather);
    if (world.rank() == world.size() - 1)
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    timed.all_gather_v(own.tensor(), counts, all.tensor());
    timeline.enter(Phase::other);
    return all.values();
  }

  mpi::Communicator world = mpi::everyone();
  std::unique_ptr<backend::Backend> backend = GetParam().make(world);
  std::unique_ptr<backend::Communicator> inner =
      backend->make_communicator(mpi::ranks_up_to(world.size()), "all");
  base::Timeline timeline;
};
INSTANTIATE_TEST_SUITE_P(Backends, Timed, backend::at_hand(), backend::name_of_param);

TEST_P(Timed, RanksThatMeetFirstWaitForTheLastOne) {
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

TEST_P(Timed, WithoutMeetingAllIsMoving) {
  gather(Meeting::none);

  EXPECT_EQ(spent(Activity::waiting).seconds, 0);
  if (world.size() > 1 && world.rank() != world.size() - 1) {
    EXPECT_GE(spent(Activity::moving).seconds, 0.010);
  }
}

TEST_P(Timed, WhatIsReceivedIsWaitedFor) {
  TimedCommunicator timed(*inner, world, Meeting::none, timeline);
  timeline.enter(Phase::tp_gather);
  const backend::Uploaded value(*backend, std::vector{world.rank() == 0 ? 4.5f : 0.0f}, 1);

  if (world.rank() == 0)
    for (int to = 1; to < world.size(); ++to)
      timed.send(value.tensor(), to);
  else
    timed.receive(value.tensor(), 0);

  EXPECT_EQ(value.values(), std::vector{4.5f});
  EXPECT_EQ(spent(Activity::waiting).seconds > 0, world.rank() > 0);
  EXPECT_EQ(spent(Activity::moving).seconds > 0, world.rank() == 0 && world.size() > 1);
}

}  // namespace
}  // namespace tetrarch::engine
