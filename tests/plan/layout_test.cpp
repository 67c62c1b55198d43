// Places in the grid, the admission rules, and the choice of what is not given.
// SPDX-License-Identifier: Apache-2.0
#include "plan/layout.hpp"

#include <limits>
#include <set>
#include <tuple>

#include "support.hpp"

namespace tetrarch::plan {
namespace {

using base::ExitCode;
using test::expect_says;
using test::refusal;

std::int64_t no_bytes(const Grid&) {
  return 0;
}

Grid choose(int num_ranks, const GridRequest& request) {
  return choose_grid(preset("tiny"), 4, num_ranks, request, 0, no_bytes).grid;
}

std::string refusal_of(int num_ranks, const GridRequest& request) {
  return refusal(ExitCode::usage, [&] { choose(num_ranks, request); });
}

TEST(Layout, TpIsFastestThenEpThenPpThenDp) {
  const Grid grid{2, 3, 4, 5};

  EXPECT_EQ(place_of(grid, 0), (Place{0, 0, 0, 0}));
  EXPECT_EQ(place_of(grid, 1), (Place{0, 0, 0, 1}));
  EXPECT_EQ(place_of(grid, 5), (Place{0, 0, 1, 0}));
  EXPECT_EQ(place_of(grid, 20), (Place{0, 1, 0, 0}));
  EXPECT_EQ(place_of(grid, 60), (Place{1, 0, 0, 0}));
  EXPECT_EQ(place_of(grid, 119), (Place{1, 2, 3, 4}));
}

TEST(Layout, EveryRankHasOnePlaceAndComesBackFromIt) {
  const Grid grid{2, 3, 4, 2};
  std::set<std::tuple<int, int, int, int>> places;
  for (int rank = 0; rank < grid.size(); ++rank) {
    const Place place = place_of(grid, rank);
    places.insert({place.dp, place.pp, place.ep, place.tp});

    EXPECT_EQ(rank_of(grid, place), rank);
  }

  EXPECT_EQ(places.size(), static_cast<std::size_t>(grid.size()));
}

TEST(Layout, AGridIsNamedByWhatIsNotOne) {
  EXPECT_EQ(to_string(Grid{1, 1, 16, 4}), "ep 16 x tp 4");
  EXPECT_EQ(to_string(Grid{1, 1, 1, 1}), "ep 1 x tp 1");
  EXPECT_EQ(to_string(Grid{2, 3, 16, 4}), "dp 2 x pp 3 x ep 16 x tp 4");
}

TEST(Layout, TheSmallestTpThatUsesAllRanksIsChosen) {
  EXPECT_EQ(choose(1, {}), (Grid{1, 1, 1, 1}));
  EXPECT_EQ(choose(8, {}), (Grid{1, 1, 8, 1}));
  EXPECT_EQ(choose(16, {}), (Grid{1, 1, 16, 1}));
  EXPECT_EQ(choose(32, {}), (Grid{1, 1, 16, 2}));
  EXPECT_EQ(choose(64, {}), (Grid{1, 1, 16, 4}));
}

TEST(Layout, WhatIsGivenIsKept) {
  GridRequest tp_given, ep_given, all_given;
  tp_given.tp = 4;
  ep_given.ep = 4;
  all_given.dp = all_given.pp = 1;
  all_given.ep = 2;
  all_given.tp = 4;

  EXPECT_EQ(choose(8, tp_given), (Grid{1, 1, 2, 4}));
  EXPECT_EQ(choose(8, ep_given), (Grid{1, 1, 4, 2}));
  EXPECT_EQ(choose(8, all_given), (Grid{1, 1, 2, 4}));
}

TEST(Layout, TpGrowsUntilMemoryFits) {
  const auto rank_bytes = [](const Grid& grid) { return std::int64_t{1000} / grid.tp; };
  const auto grid_at = [&](std::int64_t limit) {
    return choose_grid(preset("tiny"), 4, 8, {}, limit, rank_bytes).grid;
  };

  EXPECT_EQ(grid_at(1000), (Grid{1, 1, 8, 1}));
  EXPECT_EQ(grid_at(999), (Grid{1, 1, 4, 2}));
  EXPECT_EQ(grid_at(499), (Grid{1, 1, 2, 4}));
  EXPECT_EQ(grid_at(10), (Grid{1, 1, 2, 4}));  // none fits: the one that needs least
}

TEST(Layout, TheReasonSaysWhatWasGiven) {
  GridRequest request;
  request.tp = 4;

  const ChosenGrid chosen = choose_grid(preset("tiny"), 4, 8, request, 0, no_bytes);

  expect_says(chosen.reason, "ep 2 x tp 4");
  expect_says(chosen.reason, "given tp 4");
}

TEST(Layout, ANumberOfRanksWithoutAGridIsRefusedWithThoseThatHaveOne) {
  const std::string message = refusal_of(24, {});

  expect_says(message, "24 ranks");
  expect_says(message, "Start 1, 2, 4, 8, 16, 32, 64 ranks.");
}

TEST(Layout, RankCountsThatAreNamedRespectWhatIsGiven) {
  GridRequest request;
  request.tp = 4;

  const std::string message = refusal_of(2, request);

  expect_says(message, "Start 4, 8, 16, 32, 64 ranks.");
}

TEST(Layout, SizesThatBreakARuleAreRefusedWithThoseThatDoNot) {
  GridRequest ep_3, tp_3, zero_ep, negative_tp;
  ep_3.ep = 3;
  tp_3.tp = 3;
  zero_ep.ep = 0;
  negative_tp.tp = -1;

  expect_says(refusal_of(3, ep_3), "--ep 3 does not divide num_experts = 16");
  expect_says(refusal_of(3, ep_3), "Use 1, 2, 4, 8, 16.");
  expect_says(refusal_of(3, tp_3), "--tp 3 does not divide reduction_shards = 4");
  expect_says(refusal_of(3, tp_3), "Use 1, 2, 4.");
  expect_says(refusal_of(1, zero_ep), "--ep 0 is not a positive number");
  expect_says(refusal_of(1, negative_tp), "--tp -1 is not a positive number");
}

TEST(Layout, WhatComesLaterIsRefusedByName) {
  GridRequest dp_2, pp_2;
  dp_2.dp = 2;
  pp_2.pp = 2;

  expect_says(refusal_of(2, dp_2), "--dp 2 is not possible in this version");
  expect_says(refusal_of(2, pp_2), "--pp 2 is not possible in this version");
}

TEST(Layout, AGivenGridOfAnotherSizeIsRefused) {
  GridRequest request;
  request.ep = 4;
  request.tp = 2;

  expect_says(refusal_of(4, request), "makes 8 ranks, but 4 were started");
}

TEST(Layout, AllBrokenRulesStandInOneMessage) {
  const int most = std::numeric_limits<int>::max();
  const std::string message = refusal(ExitCode::usage, [&] {
    check_grid(preset("tiny"), 4, Grid{most, most, most, most}, 64);
  });

  for (const char* option : {"--dp", "--pp", "--ep", "--tp"})
    expect_says(message, option);
}

TEST(Layout, AdmittedGridsPassTheCheck) {
  for (const int ep : {1, 2, 4, 8, 16})
    for (const int tp : {1, 2, 4})
      EXPECT_NO_THROW(check_grid(preset("tiny"), 4, Grid{1, 1, ep, tp}, ep * tp));
}

TEST(Layout, EvenRangesTileTheWholeInOrder) {
  for (const std::int64_t n : {0, 1, 3, 10, 511, 513})
    for (const std::int64_t parts : {1, 2, 3, 4, 8}) {
      std::int64_t next = 0;
      for (std::int64_t part = 0; part < parts; ++part) {
        const Range range = even_range(n, parts, part);

        EXPECT_EQ(range.begin, next);
        EXPECT_EQ(range.begin, part * n / parts);
        EXPECT_EQ(range.end, (part + 1) * n / parts);
        next = range.end;
      }
      EXPECT_EQ(next, n);
    }
}

TEST(Layout, EvenRangesOfHugeNumbersDoNotOverflow) {
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();

  EXPECT_EQ(even_range(huge, 8, 7).end, huge);
  EXPECT_EQ(even_range(huge, 2, 1).begin, huge / 2);
}

}  // namespace
}  // namespace tetrarch::plan
