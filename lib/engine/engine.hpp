/// The loop: draw a microbatch; for each of its passes forward and gather; commit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/log.hpp"
#include "base/timeline.hpp"
#include "engine/not_finite.hpp"
#include "engine/topology.hpp"
#include "model/transformer.hpp"
#include "plan/plan.hpp"
#include "storage/inputs_file.hpp"
#include "storage/part_file.hpp"

namespace tetrarch::engine {

/// All that the loop works with; made in app/run.cpp, and outliving the loop.
struct Job {
  const plan::RunConfig& config;
  const plan::Plan& plan;
  const storage::InputSet& inputs;
  const mpi::Communicator& world;
  const Topology& topology;
  backend::Backend& backend;
  const model::ModelShard& shard;
  storage::PartWriter* writer;  // null on ranks that do not write
  int attempt = 1;
  std::function<bool()> stop_requested;  // asked on rank 0 only, from any thread
  base::Timeline& timeline;
  base::Log& log;
};

/// What the loop did in this attempt; the same on every rank but for the rows.
struct LoopReport {
  bool is_stopped = false;  // asked to stop before all was done
  int stop_signal = 0;      // that a rank got; 0: none did
  std::int64_t num_sequences = 0, num_tokens = 0;
  double ttft_seconds = 0;                // first microbatch: tokens in memory to last score
  double wall_seconds = 0;                // first microbatch's start to the last commit
  double startup_seconds = 0;             // process start to the first microbatch's start
  base::Spending before{};                // of this rank, then
  std::int64_t planned_bytes = 0;         // of this rank, all together
  std::int64_t planned_tensor_bytes = 0;  // of them in tensors
  std::int64_t allocated_bytes = 0;       // by the backend, at the loop's end
  std::int64_t h5_objects[2] = {0, 0};    // open after the first commit and after the last
  std::int64_t extra_rounds = 0;          // exchange rounds beyond one per layer, all microbatches
  double part_imbalance = 1;              // largest over mean attention cost of EP ranks
  std::vector<std::int64_t> dropped;      // copies beyond the experts' capacity, in each layer
  std::vector<NotFinitePlace> failed;     // rank 0: where sequences failed, and how many
  std::vector<storage::TimingRow> rows;   // rank 0: what no part has, of all ranks
};

/// Collective over the world. What is committed stays, whatever happens.
LoopReport run_microbatches(const Job& job);

}  // namespace tetrarch::engine
