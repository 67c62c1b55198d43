/// Which rank has which place in the grid (dp, pp, ep, tp), and which grids are admitted.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "plan/model_spec.hpp"

namespace tetrarch::plan {

/// The sizes of the grid. Rank = ((dp_rank * pp + pp_rank) * ep + ep_rank) * tp + tp_rank.
struct Grid {
  int dp = 1, pp = 1, ep = 1, tp = 1;
  int size() const { return dp * pp * ep * tp; }
  bool operator==(const Grid&) const = default;
};
struct Place {
  int dp = 0, pp = 0, ep = 0, tp = 0;
  bool operator==(const Place&) const = default;
};
Place place_of(const Grid& grid, int rank);
int rank_of(const Grid& grid, const Place& place);

/// "ep 16 x tp 4" with dp and pp named when they are not 1.
std::string to_string(const Grid& grid);

/// What the user fixed of the grid; the rest is chosen.
struct GridRequest {
  std::optional<int> dp = {}, pp = {}, ep = {}, tp = {};
};
struct ChosenGrid {
  Grid grid;
  std::string reason;  // one line for the log: what was given, what was chosen and why
};
/// Of each tp that the request allows, the grid of all ranks with the largest ep; smallest tp
/// first. pp is 1 unless given.
std::vector<Grid> admitted_grids(const ModelSpec& spec, std::int64_t reduction_shards,
                                 int num_ranks, const GridRequest& request);

/// Fills in what is not given so that the product is `num_ranks`: pp 1; the smallest tp whose
/// `rank_bytes(grid)` fits `limit_bytes` (0: no limit), or the one that needs least when none does;
/// then the largest ep that divides experts and the ranks left (all of them when dp is given); the
/// rest dp. Throws UsageError(usage) naming the broken rule and the numbers of ranks that work.
ChosenGrid choose_grid(const ModelSpec& spec, std::int64_t reduction_shards, int num_ranks,
                       const GridRequest& request, std::int64_t limit_bytes,
                       const std::function<std::int64_t(const Grid&)>& rank_bytes);
/// The admission rules of formats.md; throws UsageError(usage) with every broken rule at once,
/// each with the values that would do.
void check_grid(const ModelSpec& spec, std::int64_t reduction_shards, const Grid& grid,
                int num_ranks);

/// Half-open range of indices.
struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
  bool contains(std::int64_t i) const { return begin <= i && i < end; }
  bool operator==(const Range&) const = default;
};
/// Slice `part` of `parts` of n things: [floor(part*n/parts), floor((part+1)*n/parts)). The rule
/// for vocabulary slices and for the tp home of tokens.
Range even_range(std::int64_t n, std::int64_t parts, std::int64_t part);
/// Layers of stage `pp_rank` of `pp`. Earlier stages get the layer more, since the last one has the
/// head to do; of fewer layers than stages the last stages get one each.
/// num_layers = 7, pp = 3:  stage 0 holds 0 1 2 | stage 1 holds 3 4 | stage 2 holds 5 6
Range stage_layers(std::int64_t num_layers, int pp, int pp_rank);

}  // namespace tetrarch::plan
