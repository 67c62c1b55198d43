/// How much memory a rank may count on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// What the node has available now (and its cgroups allow), divided by the ranks on it; the least
/// over all nodes. 0 when the system does not say. Collective over `world` and `node`.
std::int64_t memory_limit_bytes(const mpi::Communicator& world, const mpi::Communicator& node);
/// What this process's cgroup and all those above it leave: the least of limit - use, where file
/// cache that the kernel can take back is no use. At least 1; nothing when there is no limit.
/// Reads v2 and v1, below `root`/proc and `root`/sys.
std::optional<std::int64_t> available_in_cgroups(const std::filesystem::path& root = "/");
/// The resident memory of this process now, bytes; 0 when the system does not say.
std::int64_t resident_bytes();
/// The largest resident memory of this process so far, bytes.
std::int64_t peak_resident_bytes();

}  // namespace tetrarch::engine
