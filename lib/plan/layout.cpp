// Which rank has which place in the grid, and which grids are admitted.
// SPDX-License-Identifier: Apache-2.0
#include "plan/layout.hpp"

#include <algorithm>
#include <cstdlib>
#include <set>

#include <fmt/ranges.h>

#include "plan/problems.hpp"

namespace tetrarch::plan {

using base::ExitCode;

namespace {

std::vector<std::int64_t> divisors(std::int64_t n) {
  std::vector<std::int64_t> found;
  for (std::int64_t candidate = 1; candidate <= n; ++candidate)
    if (n % candidate == 0) found.push_back(candidate);
  return found;
}

/// The numbers of ranks near `num_ranks` that some ep x tp uses entirely, with what is fixed.
std::vector<std::int64_t> usable_rank_counts(const ModelSpec& spec, std::int64_t reduction_shards,
                                             int num_ranks, const GridRequest& request) {
  std::set<std::int64_t> all;
  for (const std::int64_t ep : divisors(spec.num_experts))
    for (const std::int64_t tp : divisors(reduction_shards))
      if (ep == request.ep.value_or(ep) && tp == request.tp.value_or(tp)) all.insert(ep * tp);
  constexpr std::size_t most = 8;
  std::vector<std::int64_t> counts(all.begin(), all.end());
  std::stable_sort(counts.begin(), counts.end(), [&](std::int64_t a, std::int64_t b) {
    return std::abs(a - num_ranks) < std::abs(b - num_ranks);
  });
  if (counts.size() > most) counts.resize(most);
  std::sort(counts.begin(), counts.end());
  return counts;
}

void check_later(Problems& problems, const char* name, std::int64_t size, const char* what) {
  if (size > 1)
    problems.add(
        "--{} {} is not possible in this version ({} parallelism comes later). "
        "Leave it out or use 1.",
        name, size, what);
}

void check_divides(Problems& problems, const char* name, std::int64_t size, const char* whole_name,
                   std::int64_t whole, const char* reason) {
  if (size < 1) {
    problems.add("--{} {} is not a positive number. Use 1 or more.", name, size);
  } else if (whole % size != 0) {
    problems.add("--{} {} does not divide {} = {} ({}). Use {}.", name, size, whole_name, whole,
                 reason, fmt::join(divisors(whole), ", "));
  }
}

/// The rules on each size alone; 1 stands for what is not given.
void check_sizes(Problems& problems, const ModelSpec& spec, std::int64_t reduction_shards,
                 const Grid& grid) {
  for (const auto& [name, size] : {std::pair{"dp", grid.dp}, std::pair{"pp", grid.pp}})
    if (size < 1) problems.add("--{} {} is not a positive number. Use 1.", name, size);
  check_later(problems, "dp", grid.dp, "data");
  check_later(problems, "pp", grid.pp, "pipeline");
  check_divides(problems, "ep", grid.ep, "num_experts", spec.num_experts,
                "each rank holds equally many experts");
  check_divides(problems, "tp", grid.tp, "reduction_shards", reduction_shards,
                "each rank holds equally many reduction shards of the model file");
}

std::string given_of(const GridRequest& request) {
  std::vector<std::string> given;
  const auto add = [&](const char* name, const std::optional<int>& size) {
    if (size) given.push_back(fmt::format("{} {}", name, *size));
  };
  add("dp", request.dp);
  add("pp", request.pp);
  add("ep", request.ep);
  add("tp", request.tp);
  return given.empty() ? "nothing given" : fmt::format("given {}", fmt::join(given, ", "));
}

/// Every admitted ep x tp of all ranks that the request allows, smallest tp first.
std::vector<Grid> admitted_grids(const ModelSpec& spec, std::int64_t reduction_shards,
                                 int num_ranks, const GridRequest& request) {
  std::vector<Grid> grids;
  for (const std::int64_t tp : divisors(reduction_shards)) {
    if (tp != request.tp.value_or(static_cast<int>(tp)) || num_ranks % tp != 0) continue;
    const std::int64_t ep = num_ranks / tp;
    if (ep != request.ep.value_or(static_cast<int>(ep)) || spec.num_experts % ep != 0) continue;
    grids.push_back({1, 1, static_cast<int>(ep), static_cast<int>(tp)});
  }
  return grids;
}

}  // namespace

Place place_of(const Grid& grid, int rank) {
  base::expects(rank >= 0 && rank < grid.size(), "a rank of the grid");
  Place place;
  place.tp = rank % grid.tp;
  rank /= grid.tp;
  place.ep = rank % grid.ep;
  rank /= grid.ep;
  place.pp = rank % grid.pp;
  place.dp = rank / grid.pp;
  return place;
}

int rank_of(const Grid& grid, const Place& place) {
  return ((place.dp * grid.pp + place.pp) * grid.ep + place.ep) * grid.tp + place.tp;
}

std::string to_string(const Grid& grid) {
  std::string text;
  if (grid.dp != 1) text += fmt::format("dp {} x ", grid.dp);
  if (grid.pp != 1) text += fmt::format("pp {} x ", grid.pp);
  return text + fmt::format("ep {} x tp {}", grid.ep, grid.tp);
}

void check_grid(const ModelSpec& spec, std::int64_t reduction_shards, const Grid& grid,
                int num_ranks) {
  Problems problems;
  check_sizes(problems, spec, reduction_shards, grid);
  if (problems.empty() && grid.size() != num_ranks)
    problems.add(
        "{} makes {} ranks, but {} were started (every rank has a place). "
        "Start {} ranks or change the grid.",
        to_string(grid), grid.size(), num_ranks, grid.size());
  problems.refuse(ExitCode::usage, "grid");
}

ChosenGrid choose_grid(const ModelSpec& spec, std::int64_t reduction_shards, int num_ranks,
                       const GridRequest& request, std::int64_t limit_bytes,
                       const std::function<std::int64_t(const Grid&)>& rank_bytes) {
  base::expects(num_ranks > 0, "at least one rank");
  Problems problems;
  check_sizes(problems, spec, reduction_shards,
              {request.dp.value_or(1), request.pp.value_or(1), request.ep.value_or(1),
               request.tp.value_or(1)});
  problems.refuse(ExitCode::usage, "grid");
  if (request.ep && request.tp) {
    const Grid grid{1, 1, *request.ep, *request.tp};
    check_grid(spec, reduction_shards, grid, num_ranks);
    return {grid, fmt::format("{} ({})", to_string(grid), given_of(request))};
  }

  const std::vector<Grid> grids = admitted_grids(spec, reduction_shards, num_ranks, request);
  if (grids.empty())
    throw base::UsageError(
        ExitCode::usage,
        fmt::format(
            "{} ranks cannot all have a place ({}; ep divides num_experts = {}, tp divides "
            "reduction_shards = {}). Start {} ranks.",
            num_ranks, given_of(request), spec.num_experts, reduction_shards,
            fmt::join(usable_rank_counts(spec, reduction_shards, num_ranks, request), ", ")));
  if (limit_bytes == 0)
    return {grids.front(), fmt::format("{} ({}; the smallest tp that uses all {} ranks)",
                                       to_string(grids.front()), given_of(request), num_ranks)};

  std::int64_t least_bytes = 0;
  Grid least;
  for (const Grid& grid : grids) {
    const std::int64_t bytes = rank_bytes(grid);
    if (bytes <= limit_bytes)
      return {grid, fmt::format("{} ({}; the smallest tp that uses all {} ranks and fits memory)",
                                to_string(grid), given_of(request), num_ranks)};
    if (least_bytes == 0 || bytes < least_bytes) {
      least_bytes = bytes;
      least = grid;
    }
  }
  return {least, fmt::format("{} ({}; none fits memory, this one needs least)", to_string(least),
                             given_of(request))};
}

Range even_range(std::int64_t n, std::int64_t parts, std::int64_t part) {
  base::expects(n >= 0 && parts > 0 && part >= 0 && part < parts, "a part of a whole");
  // floor(i * n / parts), without the product of two large numbers
  const auto edge = [&](std::int64_t i) { return i * (n / parts) + i * (n % parts) / parts; };
  return {edge(part), edge(part + 1)};
}

}  // namespace tetrarch::plan
