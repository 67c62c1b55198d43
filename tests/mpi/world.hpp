/// Helpers for tests on several ranks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <numeric>
#include <vector>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

/// A duplicate of MPI_COMM_WORLD. Collective.
inline Communicator everyone() {
  MPI_Comm copy = MPI_COMM_NULL;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &copy), "MPI_Comm_dup");
  return Communicator(copy);
}

/// 0, 1, ... size - 1
inline std::vector<int> ranks_up_to(int size) {
  std::vector<int> ranks(static_cast<std::size_t>(size));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

}  // namespace tetrarch::mpi
