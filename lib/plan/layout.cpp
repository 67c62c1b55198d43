// Which coordinates a rank has in the grid, and which grids are admitted.
// SPDX-License-Identifier: Apache-2.0
#include "plan/layout.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>
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

/// Up to 8 numbers of ranks near `num_ranks` for which a grid with the requested sizes exists.
std::vector<std::int64_t> usable_rank_counts(const ModelSpec& spec, std::int64_t reduction_shards,
                                             std::int64_t num_ranks, const GridRequest& request) {
  constexpr std::int64_t most = 8;
  std::set<std::int64_t> all;
  for (const std::int64_t ep : divisors(spec.num_experts))
    for (const std::int64_t tp : divisors(reduction_shards)) {
      if (ep != request.ep.value_or(ep) || tp != request.tp.value_or(tp)) continue;
      const std::int64_t instance = request.pp.value_or(1) * ep * tp;
      const std::int64_t below = std::max<std::int64_t>(1, num_ranks / instance - most / 2);
      for (std::int64_t dp = below; dp < below + most; ++dp)
        all.insert(request.dp.value_or(dp) * instance);
    }
  std::vector<std::int64_t> counts(all.begin(), all.end());
  std::stable_sort(counts.begin(), counts.end(), [&](std::int64_t a, std::int64_t b) {
    return std::abs(a - num_ranks) < std::abs(b - num_ranks);
  });
  if (std::ssize(counts) > most) counts.resize(most);
  std::sort(counts.begin(), counts.end());
  return counts;
}

/// The product of the sizes in 64 bits: it may exceed an int.
std::int64_t num_places(const Grid& grid) {
  return std::int64_t{grid.dp} * grid.pp * grid.ep * grid.tp;
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

/// Checks the rules on each size by itself. Sizes that are not given are passed as 1.
void check_sizes(Problems& problems, const ModelSpec& spec, std::int64_t reduction_shards,
                 const Grid& grid) {
  if (grid.dp < 1) problems.add("--dp {} is not a positive number. Use 1 or more.", grid.dp);
  if (grid.pp < 1) {
    problems.add("--pp {} is not a positive number. Use 1 or more.", grid.pp);
  } else if (grid.pp > spec.num_layers) {
    problems.add(
        "--pp {} is more than num_layers = {} (each stage holds at least one layer). "
        "Use 1 to {}.",
        grid.pp, spec.num_layers, spec.num_layers);
  }
  check_divides(problems, "ep", grid.ep, "num_experts", spec.num_experts,
                "each rank holds the same number of experts");
  check_divides(problems, "tp", grid.tp, "reduction_shards", reduction_shards,
                "each rank holds the same number of reduction shards of the model file");
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
  return given.empty() ? "no size given" : fmt::format("given {}", fmt::join(given, ", "));
}

/// The largest ep that divides both `whole` (the number of experts) and `left`; dp is then
/// left / ep. When the request gives ep or dp, only that size is allowed. 0: there is no such ep.
std::int64_t largest_ep(std::int64_t whole, std::int64_t left, const GridRequest& request) {
  if (request.dp && left % *request.dp != 0) return 0;
  const std::int64_t most = request.dp ? left / *request.dp : std::gcd(whole, left);
  const std::int64_t ep = request.ep.value_or(static_cast<int>(most));
  const bool is_rest = !request.dp || ep == most;
  return is_rest && whole % ep == 0 && left % ep == 0 ? ep : 0;
}

}  // namespace

std::vector<Grid> admitted_grids(const ModelSpec& spec, std::int64_t reduction_shards,
                                 int num_ranks, const GridRequest& request) {
  std::vector<Grid> grids;
  const int pp = request.pp.value_or(1);
  for (const std::int64_t tp : divisors(reduction_shards)) {
    if (tp != request.tp.value_or(static_cast<int>(tp)) || num_ranks % (pp * tp) != 0) continue;
    const std::int64_t left = num_ranks / (pp * tp);
    const std::int64_t ep = largest_ep(spec.num_experts, left, request);
    if (ep != 0)
      grids.push_back(
          {static_cast<int>(left / ep), pp, static_cast<int>(ep), static_cast<int>(tp)});
  }
  return grids;
}

namespace {

/// "given tp 4; the largest ep that divides 16 experts, dp for the remaining ranks"
std::string reason_of(const ModelSpec& spec, const GridRequest& request, const char* tp_choice) {
  std::vector<std::string> chosen;
  if (!request.tp) chosen.push_back(tp_choice);
  if (!request.ep && request.dp) chosen.push_back("ep for the remaining ranks");
  if (!request.ep && !request.dp)
    chosen.push_back(fmt::format("the largest ep that divides {} experts", spec.num_experts));
  if (!request.dp) chosen.push_back("dp for the remaining ranks");
  if (!request.pp) chosen.push_back("pp 1 by default");
  const std::string given = given_of(request);
  return chosen.empty() ? given : fmt::format("{}; {}", given, fmt::join(chosen, ", "));
}

[[noreturn]] void refuse_ranks(const ModelSpec& spec, std::int64_t reduction_shards, int num_ranks,
                               const GridRequest& request) {
  throw base::Refusal(
      ExitCode::usage,
      fmt::format("no grid uses all {} ranks ({}; dp x pp x ep x tp must be the number of ranks, "
                  "ep must divide num_experts = {}, tp must divide reduction_shards = {}{}). "
                  "Start {} ranks.",
                  num_ranks, given_of(request), spec.num_experts, reduction_shards,
                  request.pp ? "" : ", pp is 1 by default",
                  fmt::join(usable_rank_counts(spec, reduction_shards, num_ranks, request), ", ")));
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
  if (problems.empty() && num_places(grid) != num_ranks)
    problems.add(
        "{} has {} ranks, but {} were started (each rank must be part of the grid). "
        "Start {} ranks or change the grid.",
        to_string(grid), num_places(grid), num_ranks, num_places(grid));
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
  const std::vector<Grid> grids = admitted_grids(spec, reduction_shards, num_ranks, request);
  if (grids.empty()) refuse_ranks(spec, reduction_shards, num_ranks, request);
  const auto choose = [&](const Grid& grid, const char* tp_choice) {
    return ChosenGrid{grid,
                      fmt::format("{} ({})", to_string(grid), reason_of(spec, request, tp_choice))};
  };
  if (limit_bytes == 0) return choose(grids.front(), "the smallest tp");

  std::int64_t least_bytes = 0;
  Grid least;
  for (const Grid& grid : grids) {
    const std::int64_t bytes = rank_bytes(grid);
    if (bytes <= limit_bytes) return choose(grid, "the smallest tp that fits memory");
    if (least_bytes == 0 || bytes < least_bytes) {
      least_bytes = bytes;
      least = grid;
    }
  }
  return choose(least, "no tp fits into memory and this one needs the least");
}

Range even_range(std::int64_t n, std::int64_t parts, std::int64_t part) {
  base::expects(n >= 0 && parts > 0 && part >= 0 && part < parts, "a part of a whole");
  // floor(i * n / parts), computed without i * n, which may overflow
  const auto edge = [&](std::int64_t i) { return i * (n / parts) + i * (n % parts) / parts; };
  return {edge(part), edge(part + 1)};
}

Range stage_layers(std::int64_t num_layers, int pp, int pp_rank) {
  base::expects(pp > 0 && num_layers >= 0 && pp_rank >= 0 && pp_rank < pp, "a stage of the grid");
  if (num_layers < pp) {
    const std::int64_t layer = pp_rank - (pp - num_layers);
    return layer < 0 ? Range{0, 0} : Range{layer, layer + 1};
  }
  const std::int64_t least = num_layers / pp, extra = num_layers % pp;
  const auto edge = [&](std::int64_t rank) { return rank * least + std::min(rank, extra); };
  return {edge(pp_rank), edge(pp_rank + 1)};
}

}  // namespace tetrarch::plan
