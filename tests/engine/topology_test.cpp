// Topologies of every grid of the available ranks: places, peers and writers.
// SPDX-License-Identifier: Apache-2.0
#include "engine/topology.hpp"

#include <gtest/gtest.h>

#include "backends_at_hand.hpp"

namespace tetrarch::engine {
namespace {

std::vector<plan::Grid> grids_of(int size) {
  std::vector<plan::Grid> grids;
  for (int dp = 1; dp <= size; ++dp)
    for (int pp = 1; dp * pp <= size; ++pp)
      for (int ep = 1; dp * pp * ep <= size; ++ep)
        if (size % (dp * pp * ep) == 0) grids.push_back({dp, pp, ep, size / (dp * pp * ep)});
  return grids;
}

struct TopologyTest : backend::EachBackend {
  mpi::Communicator world = mpi::everyone();
  std::unique_ptr<backend::Backend> backend = GetParam().make(world);

  /// The world ranks of `comm`, in its order.
  std::vector<std::int32_t> members(backend::Communicator& comm) const {
    const backend::Uploaded own(*backend, std::vector<std::int32_t>{world.rank()}, 1);
    const std::vector<std::int64_t> one(static_cast<std::size_t>(comm.size()), 1);
    const backend::Uploaded all(*backend, std::vector<std::int32_t>(one.size(), -1), 1);
    comm.all_gather_v(own.tensor(), one, all.tensor());
    return all.values();
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, TopologyTest, backend::at_hand(), backend::name_of_param);

TEST_P(TopologyTest, ThePlaceIsThePlans) {
  for (const plan::Grid& grid : grids_of(world.size())) {
    const Topology topology = make_topology(grid, world, *backend);

    EXPECT_EQ(topology.grid, grid);
    EXPECT_EQ(plan::rank_of(grid, topology.place), world.rank());
    EXPECT_EQ(topology.is_writer(), topology.writer_rank() == world.rank());
    EXPECT_EQ(topology.is_writer(), topology.place.tp == 0 && topology.place.pp == grid.pp - 1);
    EXPECT_EQ(world.sum(topology.is_leader()), grid.dp);
    EXPECT_EQ(world.sum(topology.is_writer()), grid.dp * grid.ep);
    EXPECT_EQ(topology.pp->size(), grid.pp);
    EXPECT_EQ(topology.pp->rank(), topology.place.pp);
    EXPECT_EQ(topology.cart.tp().rank(), topology.place.tp);
    EXPECT_EQ(topology.cart.ep().rank(), topology.place.ep);
  }
}

TEST_P(TopologyTest, CommunicatorsJoinThoseThatDifferInOneCoordinate) {
  for (const plan::Grid& grid : grids_of(world.size())) {
    const Topology topology = make_topology(grid, world, *backend);
    const auto rank_at = [&](int ep, int tp) {
      return static_cast<std::int32_t>(
          plan::rank_of(grid, {topology.place.dp, topology.place.pp, ep, tp}));
    };
    std::vector<std::int32_t> tp, ep, stage;
    for (int e = 0; e < grid.ep; ++e) {
      ep.push_back(rank_at(e, topology.place.tp));
      for (int t = 0; t < grid.tp; ++t)
        stage.push_back(rank_at(e, t));
    }
    for (int t = 0; t < grid.tp; ++t)
      tp.push_back(rank_at(topology.place.ep, t));

    EXPECT_EQ(members(*topology.tp), tp);
    EXPECT_EQ(members(*topology.ep), ep);
    EXPECT_EQ(members(*topology.stage), stage);
    EXPECT_EQ(topology.tp->rank(), topology.place.tp);
    EXPECT_EQ(topology.ep->rank(), topology.place.ep);
    EXPECT_EQ(topology.stage->rank(), topology.place.ep * grid.tp + topology.place.tp);
  }
}

}  // namespace
}  // namespace tetrarch::engine
