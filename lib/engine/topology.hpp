/// The grid of the job with its communicators: the place of this rank, and a communicator for each
/// dimension.
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
  mpi::Cart cart;  // MPI communicators for host data: counts, outputs, weights
  std::unique_ptr<backend::Communicator> tp, ep, stage, pp;  // for rows of tensors

  bool is_first_stage() const { return place.pp == 0; }
  bool is_last_stage() const { return place.pp == grid.pp - 1; }
  /// True on the rank that draws the microbatches of its instance.
  bool is_leader() const { return place.pp == 0 && place.ep == 0 && place.tp == 0; }
  /// True on the rank that writes the output parts of its (dp, ep).
  bool is_writer() const { return is_last_stage() && place.tp == 0; }
  int writer_rank() const { return plan::rank_of(grid, {place.dp, grid.pp - 1, place.ep, 0}); }
};

/// Creates the communicators. Collective over `world`, which must have as many ranks as the grid.
Topology make_topology(const plan::Grid& grid, const mpi::Communicator& world,
                       backend::Backend& backend);

}  // namespace tetrarch::engine
