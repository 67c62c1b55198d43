// SPDX-License-Identifier: Apache-2.0
#include "engine/topology.hpp"

#include <vector>

namespace tetrarch::engine {
namespace {

/// World ranks that share all coordinates of `place` but ep (if free_ep) and tp (if free_tp).
std::vector<int> peers(const plan::Grid& grid, plan::Place place, bool free_ep, bool free_tp) {
  std::vector<int> ranks;
  for (int ep = 0; ep < grid.ep; ++ep)
    for (int tp = 0; tp < grid.tp; ++tp) {
      if ((!free_ep && ep != place.ep) || (!free_tp && tp != place.tp)) continue;
      ranks.push_back(plan::rank_of(grid, {place.dp, place.pp, ep, tp}));
    }
  return ranks;
}

}  // namespace

Topology make_topology(const plan::Grid& grid, const mpi::Communicator& world,
                       backend::Backend& backend) {
  const plan::Place place = plan::place_of(grid, world.rank());
  Topology topology{grid,
                    place,
                    mpi::Cart(world, {grid.dp, grid.pp, grid.ep, grid.tp}),
                    backend.make_communicator(peers(grid, place, false, true)),
                    backend.make_communicator(peers(grid, place, true, false)),
                    backend.make_communicator(peers(grid, place, true, true))};
  const auto& at = topology.cart.coordinates();
  base::expects(plan::Place{at[0], at[1], at[2], at[3]} == place,
                "MPI's Cartesian coordinates to be the plan's");
  return topology;
}

}  // namespace tetrarch::engine
