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
  Cart(const Communicator& world, std::array<int, 4> extents);

  const std::array<int, 4>& coordinates() const { return coordinates_; }
  const Communicator& grid() const { return grid_; }
  const Communicator& dp() const { return dp_; }
  const Communicator& pp() const { return pp_; }
  const Communicator& ep() const { return ep_; }
  const Communicator& tp() const { return tp_; }
  /// ep x tp: the ranks that do a layer together; tp varies fastest.
  const Communicator& stage() const { return stage_; }

 private:
  Communicator grid_;
  std::array<int, 4> coordinates_{};
  Communicator dp_, pp_, ep_, tp_, stage_;
};

}  // namespace tetrarch::mpi
