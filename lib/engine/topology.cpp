// SPDX-License-Identifier: Apache-2.0
#include "engine/topology.hpp"

#include <vector>

namespace tetrarch::engine {
namespace {

/// The ranks of an instance that have all coordinates of `place`, except those that `free` leaves
/// free.
enum class Free { tp, ep, stage, pp };
std::vector<int> peers(const plan::Grid& grid, const plan::Place& place, Free free) {
  std::vector<int> ranks;
  for (int pp = 0; pp < grid.pp; ++pp)
    for (int ep = 0; ep < grid.ep; ++ep)
      for (int tp = 0; tp < grid.tp; ++tp) {
        const bool is_pp = pp == place.pp || free == Free::pp;
        const bool is_ep = ep == place.ep || free == Free::ep || free == Free::stage;
        const bool is_tp = tp == place.tp || free == Free::tp || free == Free::stage;
        if (is_pp && is_ep && is_tp) ranks.push_back(plan::rank_of(grid, {place.dp, pp, ep, tp}));
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
                    backend.make_communicator(peers(grid, place, Free::tp), "tp"),
                    backend.make_communicator(peers(grid, place, Free::ep), "ep"),
                    backend.make_communicator(peers(grid, place, Free::stage), "stage"),
                    backend.make_communicator(peers(grid, place, Free::pp), "pp")};
  const auto& at = topology.cart.coordinates();
  base::expects(plan::Place{at[0], at[1], at[2], at[3]} == place,
                "MPI's Cartesian coordinates to be the plan's");
  return topology;
}

}  // namespace tetrarch::engine
