/// What would make a plan fit that needs too much memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "plan/run_config.hpp"

namespace tetrarch::plan {

/// What a user can change of a plan.
struct Choice {
  Grid grid;
  std::int64_t tokens_per_microbatch = 0;
  std::int64_t chunk_tokens = 0;
  Outputs outputs;
};
/// The bytes that the rank needs that needs most.
using BytesOf = std::function<std::int64_t(const Choice&)>;

/// Of each kind of change the smallest one that fits by itself; empty or 0 where none does.
struct Remedies {
  std::int64_t tokens_per_microbatch = 0;
  std::int64_t chunk_tokens = 0;
  std::vector<std::string> outputs;  // to be left out, in this order, all of them
  std::optional<Grid> grid;          // of as many ranks
  int fewer_ranks = 0;               // on the same nodes: each may use more
  int more_ranks = 0;                // on as many times more nodes
};

struct RemedyRequest {
  const ModelSpec& spec;
  std::int64_t reduction_shards = 1;
  std::int64_t limit_bytes = 0;  // of a rank
  std::int64_t longest = 0;      // tokens of the longest sequence
  bool has_capacity = false;     // nothing passes in chunks then
  std::int64_t fixed_bytes = 0;  // that no change of the choice makes less
};

Remedies find_remedies(const Choice& now, const RemedyRequest& request, const BytesOf& bytes_of);

/// "Use --tokens-per-microbatch 512, or leave kv out of --outputs". With nothing that helps, why.
std::string to_string(const Remedies& remedies, const RemedyRequest& request);

}  // namespace tetrarch::plan
