/// The grid, alive: a rank's place and the communicators along each dimension.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/backend.hpp"
#include "mpi/cart.hpp"
#include "plan/layout.hpp"

namespace tetrarch::engine {

struct Topology {
  plan::Grid grid;
  plan::Place place;
  mpi::Cart cart;                                            // host data: counts, outputs, weights
  std::unique_ptr<backend::Communicator> tp, ep, stage, pp;  // rows of tensors

  bool is_first_stage() const { return place.pp == 0; }
  bool is_last_stage() const { return place.pp == grid.pp - 1; }
  /// Of an instance: the rank that draws its microbatches.
  bool is_leader() const { return place.pp == 0 && place.ep == 0 && place.tp == 0; }
  /// Of a (dp, ep): the rank that writes its parts.
  bool is_writer() const { return is_last_stage() && place.tp == 0; }
  int writer_rank() const { return plan::rank_of(grid, {place.dp, grid.pp - 1, place.ep, 0}); }
};

/// Collective over `world`, whose size is the grid's.
Topology make_topology(const plan::Grid& grid, const mpi::Communicator& world,
                       backend::Backend& backend);

}  // namespace tetrarch::engine
