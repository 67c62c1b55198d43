/// The plan of a run: everything that is decided before any weight is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/memory.hpp"
#include "plan/run_config.hpp"

namespace tetrarch::plan {

/// The ranks that the plan is for.
struct Ranks {
  int number = 1;
  std::int64_t memory_limit_bytes = 0;  // what one rank may use; 0: no limit
  PackedBytes packed_bytes = {};        // of the backend; absent: weights are held dense
  FileBytes files = {};
};

struct Plan {
  ModelSpec model;
  std::int64_t reduction_shards = 1;  // V
  Grid grid;
  std::string grid_reason;  // one line for the log: why this grid
  Outputs outputs;
  Depth depth;
  std::int64_t chunk_tokens = 0;  // longer sequences pass in chunks of so many tokens
  std::vector<Microbatch> microbatches;
  Extents extents;
  PackedBytes packed_bytes;
  FileBytes files;
  MemoryPlan memory;  // of the rank that needs most
};

/// Makes the whole plan; later code does not change its decisions.
///
/// lengths  the sequences that are to be computed, in input order
/// all      all sequences that can be computed, in input order; empty: the same as `lengths`
/// The plan's microbatches refer to these two lists: both must outlive it.
///
/// Microbatches are a pure function of `lengths` and tokens_per_microbatch. With a capacity factor
/// they are made from `all`, so that a resumed run forms the same microbatches, and those with
/// nothing left to compute are removed.
/// Throws Refusal(resources) when a rank needs more than the memory limit; the message says how
/// many bytes more, and which change would make it fit. Throws Refusal(usage) and
/// Refusal(weights) as resolve_outputs(), choose_grid() and check_reduction_shards() do.
Plan make_plan(const RunConfig& config, const ModelSpec& spec, std::int64_t reduction_shards,
               std::span<const SequenceLength> lengths, const Ranks& ranks,
               std::span<const SequenceLength> all = {});

/// The input of plan_memory() for this plan. `extents` are those of its microbatches on a grid.
MemoryRequest memory_request(const RunConfig& config, const Plan& plan, const Extents& extents);

/// The floating-point operations that one sequence needs for these outputs, 2 per multiply-add:
/// matrix products of the layers, attention over the (query, key) pairs that the mask allows,
/// router, and logits. In the deepest layer only the rows that are wanted count.
/// `length` is the number of tokens of the sequence; `num_fed` of them pass the layers.
double sequence_flops(const ModelSpec& spec, const Outputs& outputs, const Depth& depth,
                      std::int64_t length, std::int64_t num_fed);

}  // namespace tetrarch::plan
