/// The amount of memory that a rank may use.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// Bytes available to this rank: the memory that the node has available now (and its cgroups
/// allow), divided by the number of ranks on the node; the least over all nodes. 0 when the system
/// does not tell. Collective over `world` and `node`.
std::int64_t memory_limit_bytes(const mpi::Communicator& world, const mpi::Communicator& node);
/// Bytes that the cgroup of this process and all cgroups above it allow: the least of limit - use.
/// File cache that the kernel can free does not count as use. At least 1; nothing when there is no
/// limit. Reads cgroups v2 and v1, from `root`/proc and `root`/sys.
std::optional<std::int64_t> available_in_cgroups(const std::filesystem::path& root = "/");
/// The present resident memory of this process in bytes; 0 when the system does not tell.
std::int64_t resident_bytes();
/// The largest resident memory of this process so far, in bytes.
std::int64_t peak_resident_bytes();

}  // namespace tetrarch::engine
