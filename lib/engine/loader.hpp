/// weights.h5 -> the shard of this rank. Where storage meets model.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/timeline.hpp"
#include "engine/topology.hpp"
#include "model/weights.hpp"
#include "plan/run_config.hpp"
#include "storage/weights_file.hpp"

namespace tetrarch::engine {

struct LoadReport {
  std::int64_t bytes_read = 0;      // by this rank from the file
  std::int64_t bytes_received = 0;  // by broadcast from a rank that read them
  std::int64_t resident_bytes = 0;  // of this process before any weight was read
  double read_seconds = 0, verify_seconds = 0, exchange_seconds = 0, pack_seconds = 0;
};

/// Memory for windows of weights, as they are read and as they arrive.
std::int64_t loading_bytes(const storage::WeightsFile& weights, std::int64_t threads_per_rank);

/// Reads this rank's shard, as far as its stage and `depth` need it, and nothing else, in windows
/// of a few MiB that are packed while the cache has them. Of what several ranks need, of all
/// instances together, each reads some windows, and all get them by broadcast. Every block read is
/// verified unless `verify` is none. Collective over `world`. Throws UsageError(weights) on every
/// rank when a rank found damage.
model::ModelShard load_shard(const storage::WeightsFile& weights, plan::VerifyMode verify,
                             const plan::LocalSizes& local, const plan::Depth& depth,
                             const Topology& topology, const mpi::Communicator& world,
                             backend::Backend& backend, base::Timeline& timeline,
                             LoadReport& report);

}  // namespace tetrarch::engine
