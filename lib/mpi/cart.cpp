// SPDX-License-Identifier: Apache-2.0
#include "mpi/cart.hpp"

namespace tetrarch::mpi {
namespace {

Communicator create(const Communicator& world, const std::array<int, 4>& extents) {
  const base::Operation running(world.group(), {"create_grid"});
  const int periodic[4] = {0, 0, 0, 0};
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Cart_create(world.get(), 4, extents.data(), periodic, 0, &comm), "MPI_Cart_create");
  return Communicator(comm, "grid");
}

/// The communicator of the ranks that differ from this one only in the dimensions with kept = 1.
Communicator along(const Communicator& grid, std::array<int, 4> kept, const char* name) {
  const base::Operation running(grid.group(), {"create_subgrid"});
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Cart_sub(grid.get(), kept.data(), &comm), "MPI_Cart_sub");
  return Communicator(comm, name);
}

}  // namespace

Cart::Cart(const Communicator& world, std::array<int, 4> extents)
    : grid_(create(world, extents)),
      dp_(along(grid_, {1, 0, 0, 0}, "grid.dp")),
      pp_(along(grid_, {0, 1, 0, 0}, "grid.pp")),
      ep_(along(grid_, {0, 0, 1, 0}, "grid.ep")),
      tp_(along(grid_, {0, 0, 0, 1}, "grid.tp")),
      stage_(along(grid_, {0, 0, 1, 1}, "grid.stage")) {
  check(MPI_Cart_coords(grid_.get(), grid_.rank(), 4, coordinates_.data()), "MPI_Cart_coords");
}

}  // namespace tetrarch::mpi
