/// The main loop: draw a microbatch, compute its passes and collect their outputs, commit.
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
#include "storage/inputs/inputs_file.hpp"
#include "storage/run/part_file.hpp"

namespace tetrarch::engine {

/// The objects that the loop works with. app/run.cpp creates them; they outlive the loop.
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
  std::function<bool()> stop_requested;  // called on rank 0 only, from any thread
  base::Timeline& timeline;
  base::Log& log;
};

/// What the loop did in this attempt. The same on every rank, except where a field says otherwise.
struct LoopReport {
  bool is_stopped = false;  // true: stopped before all sequences were done
  int stop_signal = 0;      // a signal that a rank received; 0: none
  std::int64_t num_sequences = 0, num_tokens = 0;
  double ttft_seconds = 0;     // of the first microbatch: from tokens in memory to its last score
  double wall_seconds = 0;     // from the first microbatch's start to the last commit
  double startup_seconds = 0;  // from process start to the first microbatch's start
  base::Spending before{};     // time this rank spent before the first microbatch
  std::int64_t planned_bytes = 0;         // planned memory of this rank
  std::int64_t planned_tensor_bytes = 0;  // the part of it for tensors
  std::int64_t allocated_bytes = 0;       // by the backend of this rank, at the end of the loop
  // open HDF5 objects after the first and after the last commit
  std::int64_t h5_objects[2] = {0, 0};
  std::int64_t extra_rounds = 0;      // exchange rounds beyond one per layer, over all microbatches
  double share_imbalance = 1;         // attention cost of EP ranks, largest / mean
  std::vector<std::int64_t> dropped;  // copies beyond the experts' capacity, by layer
  std::vector<NotFinitePlace> failed;  // on rank 0: where sequences failed, and how many
  // on rank 0: timing rows of all ranks that are in no output part
  std::vector<storage::TimingRow> rows;
};

/// Runs all microbatches that are left. Collective over the world. Committed results are kept, even
/// if this throws.
LoopReport run_microbatches(const Job& job);

}  // namespace tetrarch::engine
