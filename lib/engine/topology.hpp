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
  mpi::Cart cart;                                        // host data: counts, outputs, weights
  std::unique_ptr<backend::Communicator> tp, ep, stage;  // rows of tensors
  bool is_writer() const { return place.tp == 0; }
};

/// Collective over `world`, whose size is the grid's.
Topology make_topology(const plan::Grid& grid, const mpi::Communicator& world,
                       backend::Backend& backend);

}  // namespace tetrarch::engine
