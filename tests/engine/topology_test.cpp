// Topologies of every grid of the available ranks: places, peers and writers.
// SPDX-License-Identifier: Apache-2.0
#include "engine/topology.hpp"

#include <gtest/gtest.h>

#include "engine/backends.hpp"
#include "mpi/world.hpp"

namespace tetrarch::engine {
namespace {

/// The world ranks of `comm`, in its order.
std::vector<std::int32_t> members(backend::Communicator& comm, std::int32_t rank) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(comm.size()), -1);
  const std::vector<std::int64_t> one(all.size(), 1);
  comm.all_gather_v({&rank, base::DType::i32, 1, 1, 1}, one,
                    {all.data(), base::DType::i32, 1, comm.size(), 1});
  return all;
}

std::vector<plan::Grid> grids_of(int size) {
  std::vector<plan::Grid> grids;
  for (int dp = 1; dp <= size; ++dp)
    for (int pp = 1; dp * pp <= size; ++pp)
      for (int ep = 1; dp * pp * ep <= size; ++ep)
        if (size % (dp * pp * ep) == 0) grids.push_back({dp, pp, ep, size / (dp * pp * ep)});
  return grids;
}

struct TopologyTest : ::testing::Test {
  mpi::Communicator world = mpi::everyone();
  std::unique_ptr<backend::Backend> backend = make_backend(plan::BackendKind::cpu, world, 1);
};

TEST_F(TopologyTest, ThePlaceIsThePlans) {
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

TEST_F(TopologyTest, CommunicatorsJoinThoseThatDifferInOneCoordinate) {
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

    EXPECT_EQ(members(*topology.tp, world.rank()), tp);
    EXPECT_EQ(members(*topology.ep, world.rank()), ep);
    EXPECT_EQ(members(*topology.stage, world.rank()), stage);
    EXPECT_EQ(topology.tp->rank(), topology.place.tp);
    EXPECT_EQ(topology.ep->rank(), topology.place.ep);
    EXPECT_EQ(topology.stage->rank(), topology.place.ep * grid.tp + topology.place.tp);
  }
}

}  // namespace
}  // namespace tetrarch::engine
