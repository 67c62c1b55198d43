/// Which coordinates (dp, pp, ep, tp) a rank has in the parallel grid, and which grids are
/// admitted.
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
/// The coordinates of one rank, each from 0.
struct Place {
  int dp = 0, pp = 0, ep = 0, tp = 0;
  bool operator==(const Place&) const = default;
};
/// Throws InternalError when `rank` is not a rank of the grid.
Place place_of(const Grid& grid, int rank);
int rank_of(const Grid& grid, const Place& place);

/// "ep 16 x tp 4"; dp and pp stand before it when they are not 1.
std::string to_string(const Grid& grid);

/// The sizes that the user gave; the others are chosen.
struct GridRequest {
  std::optional<int> dp = {}, pp = {}, ep = {}, tp = {};
};
struct ChosenGrid {
  Grid grid;
  std::string reason;  // one line for the log: what was given, what was chosen and why
};
/// For each tp that the request allows, the grid of `num_ranks` ranks with the largest ep. Sorted
/// by rising tp. pp is 1 unless given.
std::vector<Grid> admitted_grids(const ModelSpec& spec, std::int64_t reduction_shards,
                                 int num_ranks, const GridRequest& request);

/// Chooses the sizes that are not given, so that their product is `num_ranks`:
///   pp  1
///   tp  the smallest for which `rank_bytes(grid)` is at most `limit_bytes` (0: no limit); when no
///       tp fits, the one that needs the fewest bytes
///   ep  the largest that divides both num_experts and the ranks left, num_ranks / (pp * tp); when
///       dp is given, the ranks left divided by dp
///   dp  the ranks left divided by ep
/// Throws Refusal(usage); the message names the broken rule and the numbers of ranks that work.
ChosenGrid choose_grid(const ModelSpec& spec, std::int64_t reduction_shards, int num_ranks,
                       const GridRequest& request, std::int64_t limit_bytes,
                       const std::function<std::int64_t(const Grid&)>& rank_bytes);
/// Checks the admission rules: dp x pp x ep x tp = num_ranks; ep divides num_experts;
/// pp <= num_layers; tp divides reduction_shards. Throws Refusal(usage) with every broken rule
/// in one message, each with the values that would work.
void check_grid(const ModelSpec& spec, std::int64_t reduction_shards, const Grid& grid,
                int num_ranks);

/// The indices begin, begin + 1, ..., end - 1.
struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
  bool contains(std::int64_t i) const { return begin <= i && i < end; }
  bool operator==(const Range&) const = default;
};
/// Slice number `part` when n things are cut into `parts` nearly equal slices:
/// [floor(part*n/parts), floor((part+1)*n/parts)). Used for vocabulary slices, and for the rows of
/// the residual stream that each tp rank holds.
Range even_range(std::int64_t n, std::int64_t parts, std::int64_t part);
/// Layers of pipeline stage `pp_rank` of `pp`. When pp does not divide num_layers, the first stages
/// get one layer more, because the last stage also computes the head. When there are fewer layers
/// than stages, the last stages get one layer each.
/// num_layers = 7, pp = 3:  stage 0 holds 0 1 2 | stage 1 holds 3 4 | stage 2 holds 5 6
Range stage_layers(std::int64_t num_layers, int pp, int pp_rank);

}  // namespace tetrarch::plan
