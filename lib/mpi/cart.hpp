/// The Cartesian grid (dp, pp, ep, tp) over all ranks and its sub-communicators.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

/// Extents in the order dp, pp, ep, tp; the last varies fastest with the rank.
class Cart {
 public:
  /// Collective over `world`, whose size is the product of the extents. Ranks are not reordered.
  /// Throws SystemError(communication) when MPI fails.
  Cart(const Communicator& world, std::array<int, 4> extents);

  /// This rank's coordinates, in the order of the extents.
  const std::array<int, 4>& coordinates() const { return coordinates_; }
  /// All ranks of the grid.
  const Communicator& grid() const { return grid_; }
  /// The ranks that differ from this one in the named coordinate only, in its order.
  const Communicator& dp() const { return dp_; }
  const Communicator& pp() const { return pp_; }
  const Communicator& ep() const { return ep_; }
  const Communicator& tp() const { return tp_; }
  /// The ep x tp ranks that compute the same layers together; tp varies fastest.
  const Communicator& stage() const { return stage_; }

 private:
  Communicator grid_;
  std::array<int, 4> coordinates_{};
  Communicator dp_, pp_, ep_, tp_, stage_;
};

}  // namespace tetrarch::mpi
