/// Loads the shard of this rank from weights.h5. Connects storage and model.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/timeline.hpp"
#include "engine/topology.hpp"
#include "model/weights.hpp"
#include "plan/run_config.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::engine {

/// What loading did on this rank: bytes, and seconds of each step.
struct LoadReport {
  std::int64_t bytes_read = 0;      // read from the file by this rank
  std::int64_t bytes_received = 0;  // received by broadcast from a rank that read them
  std::int64_t resident_bytes = 0;  // resident memory of this process before loading
  double read_seconds = 0, verify_seconds = 0, exchange_seconds = 0, pack_seconds = 0;
};

/// Bytes of memory for windows of weights: one that is read and one that is received.
std::int64_t loading_bytes(const storage::WeightsFile& weights, std::int64_t threads_per_rank);

/// Reads and packs this rank's shard, and nothing else: only the layers of its stage that `depth`
/// needs. Windows of a few MiB are read and then packed while they are in the cache. If several
/// ranks need the same data, of all instances together, each of them reads some of the windows and
/// broadcasts them. Every block that is read is verified, unless `verify` is none. Collective over
/// `world`. Throws Refusal on every rank when a rank had a problem, with code weights when data
/// is damaged.
model::ModelShard load_shard(const storage::WeightsFile& weights, plan::VerifyMode verify,
                             const plan::LocalSizes& local, const plan::Depth& depth,
                             const Topology& topology, const mpi::Communicator& world,
                             backend::Backend& backend, base::Timeline& timeline,
                             LoadReport& report);

}  // namespace tetrarch::engine
