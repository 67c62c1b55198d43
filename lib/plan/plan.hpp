/// Everything that can be known before the first weight is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/memory.hpp"
#include "plan/run_config.hpp"

namespace tetrarch::plan {

/// The machine that the plan is for.
struct Ranks {
  int number = 1;
  std::int64_t memory_limit_bytes = 0;  // what one rank may use; 0: no limit
  PackedBytes packed_bytes = {};        // of the backend; absent: dense
  FileBytes files = {};
};

struct Plan {
  ModelSpec model;
  std::int64_t reduction_shards = 1;  // V
  Grid grid;
  std::string grid_reason;
  Outputs outputs;
  Depth depth;
  std::int64_t chunk_tokens = 0;  // longer sequences pass in chunks of so many tokens
  std::vector<Microbatch> microbatches;
  Extents extents;
  PackedBytes packed_bytes;
  FileBytes files;
  MemoryPlan memory;  // of the rank that needs most
};

/// Decides all of it; nothing is decided again later. `lengths`: the sequences that are to be done,
/// out of all good ones in `all` (empty: they are the same). Microbatches are a pure function of
/// `lengths`; with a capacity factor of `all`, so that a resumed run forms those that are left as
/// they were. The plan's microbatches refer to these lists, which are in input order.
/// A plan that needs more than the memory limit is refused with UsageError(resources), by how many
/// bytes, and what would make it fit. Throws as the parts do.
Plan make_plan(const RunConfig& config, const ModelSpec& spec, std::int64_t reduction_shards,
               std::span<const SequenceLength> lengths, const Ranks& ranks,
               std::span<const SequenceLength> all = {});

/// What plan_memory needs to know of the run. `extents`: of the plan's microbatches, on some grid.
MemoryRequest memory_request(const RunConfig& config, const Plan& plan, const Extents& extents);

/// Useful floating-point operations of what these outputs need of one sequence: products of the
/// layers (2 per multiply-add), visible attention pairs, router, and logits; of the deepest layer
/// only the rows that are wanted. `num_fed` of its `length` tokens pass the layers.
double sequence_flops(const ModelSpec& spec, const Outputs& outputs, const Depth& depth,
                      std::int64_t length, std::int64_t num_fed);

}  // namespace tetrarch::plan
