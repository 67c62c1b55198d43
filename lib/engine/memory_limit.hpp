/// How much memory a rank may count on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// What the node has available now (and its cgroup allows), divided by the ranks on it; the least
/// over all nodes. 0 when the system does not say. Collective over `world` and `node`.
std::int64_t memory_limit_bytes(const mpi::Communicator& world, const mpi::Communicator& node);
/// The largest resident memory of this process so far, bytes.
std::int64_t peak_resident_bytes();

}  // namespace tetrarch::engine
