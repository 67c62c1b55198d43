/// Everything that can be known before the first weight is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/memory.hpp"
#include "plan/run_config.hpp"

namespace tetrarch::plan {

struct Plan {
  ModelSpec model;
  std::int64_t reduction_shards = 1;  // V
  Grid grid;
  std::string grid_reason;
  Outputs outputs;
  std::vector<Microbatch> microbatches;
  Extents extents;
  MemoryPlan memory;  // of the rank that needs most
};

/// Decides all of it; nothing is decided again later. `lengths`: the sequences that are to be done.
/// `memory_limit_bytes` (0: none) is what one rank may use: a plan that needs more is refused with
/// UsageError(resources), by how many bytes, and what would make it fit. Throws as the parts do.
Plan make_plan(const RunConfig& config, const ModelSpec& spec, std::int64_t reduction_shards,
               std::span<const SequenceLength> lengths, int num_ranks,
               std::int64_t memory_limit_bytes);

/// Useful floating-point operations of the whole forward pass of one sequence: products of the
/// layers (2 per multiply-add), causal attention, router, and the head for `head_positions` rows.
double sequence_flops(const ModelSpec& spec, std::int64_t length, std::int64_t head_positions);

}  // namespace tetrarch::plan
