/// Finds changes that would make a plan fit when it needs too much memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "plan/run_config.hpp"

namespace tetrarch::plan {

/// The parts of a plan that a user can change.
struct Choice {
  Grid grid;
  std::int64_t tokens_per_microbatch = 0;
  std::int64_t chunk_tokens = 0;
  Outputs outputs;
};
/// Bytes of the rank that needs most, under this choice.
using BytesOf = std::function<std::int64_t(const Choice&)>;

/// For each kind of change the smallest one that suffices by itself; empty or 0: none does.
struct Remedies {
  std::int64_t tokens_per_microbatch = 0;
  std::int64_t chunk_tokens = 0;
  std::vector<std::string> outputs;  // all of these must be left out
  std::optional<Grid> grid;          // another grid of the same number of ranks
  int fewer_ranks = 0;               // this many on the same nodes: each may use more memory
  int more_ranks = 0;                // this many, on more nodes, with as many on each node
};

struct RemedyRequest {
  const ModelSpec& spec;
  std::int64_t reduction_shards = 1;
  std::int64_t limit_bytes = 0;  // what one rank may use
  std::int64_t longest = 0;      // tokens of the longest sequence
  bool has_capacity = false;     // a capacity factor is set: sequences do not pass in chunks
  std::int64_t fixed_bytes = 0;  // bytes that no change of the choice reduces
};

/// Tries changes of `now`, which does not fit.
Remedies find_remedies(const Choice& now, const RemedyRequest& request, const BytesOf& bytes_of);

/// "Use --tokens-per-microbatch 512, or leave kv out of --outputs"; when no change helps, the
/// reason.
std::string to_string(const Remedies& remedies, const RemedyRequest& request);

}  // namespace tetrarch::plan
