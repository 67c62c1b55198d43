// Coordinates in the grid, the admission rules, and the choice of sizes that are not given.
// SPDX-License-Identifier: Apache-2.0
#include "plan/layout.hpp"

#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

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

TEST(Layout, NothingGivenIsTheSmallestTpThenTheLargestEpThenDp) {
  EXPECT_EQ(choose(1, {}), (Grid{1, 1, 1, 1}));
  EXPECT_EQ(choose(8, {}), (Grid{1, 1, 8, 1}));
  EXPECT_EQ(choose(16, {}), (Grid{1, 1, 16, 1}));
  EXPECT_EQ(choose(24, {}), (Grid{3, 1, 8, 1}));
  EXPECT_EQ(choose(64, {}), (Grid{4, 1, 16, 1}));
  EXPECT_EQ(choose(7, {}), (Grid{7, 1, 1, 1}));
}

TEST(Layout, WhatIsGivenIsKept) {
  EXPECT_EQ(choose(8, {.tp = 4}), (Grid{1, 1, 2, 4}));
  EXPECT_EQ(choose(8, {.ep = 4}), (Grid{2, 1, 4, 1}));
  EXPECT_EQ(choose(12, {.pp = 3}), (Grid{1, 3, 4, 1}));
  EXPECT_EQ(choose(16, {.dp = 2}), (Grid{2, 1, 8, 1}));
  EXPECT_EQ(choose(8, {.dp = 1, .pp = 1, .ep = 2, .tp = 4}), (Grid{1, 1, 2, 4}));
  EXPECT_EQ(choose(24, {.dp = 3, .pp = 2, .ep = 2, .tp = 2}), (Grid{3, 2, 2, 2}));
}

TEST(Layout, EpUsesTheRestExactlyWhenDpIsGiven) {
  EXPECT_EQ(choose(32, {.dp = 1}), (Grid{1, 1, 16, 2}));  // ep 32 does not divide 16 experts
  EXPECT_EQ(choose(64, {.dp = 2, .pp = 2}), (Grid{2, 2, 16, 1}));

  const std::string message = refusal_of(10, {.dp = 2});

  expect_says(message, "no grid uses all 10 ranks (given dp 2;");
  expect_says(message, "Start 2, 4, 8, 16, 32, 64, 128 ranks.");
}

TEST(Layout, TpGrowsUntilMemoryFits) {
  const auto rank_bytes = [](const Grid& grid) { return std::int64_t{1000} / grid.tp; };
  const auto grid_at = [&](std::int64_t limit) {
    return choose_grid(preset("tiny"), 4, 8, {}, limit, rank_bytes).grid;
  };

  EXPECT_EQ(grid_at(1000), (Grid{1, 1, 8, 1}));
  EXPECT_EQ(grid_at(999), (Grid{1, 1, 4, 2}));
  EXPECT_EQ(grid_at(499), (Grid{1, 1, 2, 4}));
  EXPECT_EQ(grid_at(10), (Grid{1, 1, 2, 4}));  // no grid fits: the one that needs least is chosen
}

TEST(Layout, MemoryIsAskedOfTheWholeGrid) {
  std::vector<Grid> asked;

  choose_grid(preset("tiny"), 4, 64, {.pp = 2}, 1, [&](const Grid& grid) {
    asked.push_back(grid);
    return std::int64_t{2};
  });

  EXPECT_EQ(asked, (std::vector<Grid>{{2, 2, 16, 1}, {1, 2, 16, 2}, {1, 2, 8, 4}}));
}

TEST(Layout, TheReasonSaysWhatWasGivenWhatWasChosenAndWhy) {
  const auto reason = [](const GridRequest& request, std::int64_t limit) {
    return choose_grid(preset("tiny"), 4, 32, request, limit, no_bytes).reason;
  };

  EXPECT_EQ(reason({.dp = 2, .pp = 1, .ep = 4, .tp = 4}, 0),
            "dp 2 x ep 4 x tp 4 (given dp 2, pp 1, ep 4, tp 4)");
  EXPECT_EQ(reason({.tp = 4}, 0),
            "ep 8 x tp 4 (given tp 4; the largest ep that divides 16 experts, dp for the remaining "
            "ranks, pp 1 by default)");
  EXPECT_EQ(reason({.dp = 2, .pp = 2}, 1),
            "dp 2 x pp 2 x ep 8 x tp 1 (given dp 2, pp 2; the smallest tp that fits memory, ep for "
            "the remaining ranks)");
}

TEST(Layout, AChoiceThatFitsNoMemorySaysSo) {
  const ChosenGrid chosen =
      choose_grid(preset("tiny"), 4, 8, {}, 1, [](const Grid&) { return std::int64_t{2}; });

  expect_says(chosen.reason, "no tp fits into memory");
}

TEST(Layout, ANumberOfRanksWithoutAGridIsRefusedWithThoseThatHaveOne) {
  const std::string message = refusal_of(24, {.dp = 1});

  expect_says(message, "no grid uses all 24 ranks (given dp 1;");
  expect_says(message, "ep must divide num_experts = 16, tp must divide reduction_shards = 4");
  expect_says(message, "Start 1, 2, 4, 8, 16, 32, 64 ranks.");
}

TEST(Layout, RankCountsThatAreNamedRespectWhatIsGiven) {
  expect_says(refusal_of(2, {.dp = 1, .tp = 4}), "Start 4, 8, 16, 32, 64 ranks.");
  expect_says(refusal_of(9, {.pp = 2}), "Start 2, 4, 6, 8, 10, 12, 14, 16 ranks.");
  expect_says(refusal_of(70, {.ep = 16}), "Start 16, 32, 48, 64, 80, 96, 112, 128 ranks.");
  expect_says(refusal_of(5, {.dp = 3, .pp = 1, .ep = 2, .tp = 2}), "Start 12 ranks.");
}

TEST(Layout, EveryNamedNumberOfRanksWorks) {
  const std::vector<GridRequest> requests{
      {}, {.dp = 3}, {.pp = 3}, {.ep = 8}, {.tp = 4}, {.dp = 2, .ep = 4}, {.pp = 4, .tp = 2}};
  int refused = 0;
  for (const GridRequest& request : requests)
    for (int num_ranks = 1; num_ranks <= 70; ++num_ranks)
      try {
        const Grid grid = choose(num_ranks, request);

        EXPECT_EQ(grid.size(), num_ranks);
        EXPECT_NO_THROW(check_grid(preset("tiny"), 4, grid, num_ranks));
      } catch (const base::Refusal& error) {
        ++refused;
        const std::string message = error.what();
        std::istringstream counts(message.substr(message.rfind("Start ") + 6));
        int named = 0;
        char comma = 0;
        for (int count = 0; counts >> count; counts >> comma, ++named)
          EXPECT_EQ(choose(count, request).size(), count) << message;
        EXPECT_GT(named, 0) << message;
      }
  EXPECT_GT(refused, 100);
}

TEST(Layout, SizesThatBreakARuleAreRefusedWithThoseThatDoNot) {
  expect_says(refusal_of(3, {.ep = 3}), "--ep 3 does not divide num_experts = 16");
  expect_says(refusal_of(3, {.ep = 3}), "Use 1, 2, 4, 8, 16.");
  expect_says(refusal_of(3, {.tp = 3}), "--tp 3 does not divide reduction_shards = 4");
  expect_says(refusal_of(3, {.tp = 3}), "Use 1, 2, 4.");
  expect_says(refusal_of(1, {.ep = 0}), "--ep 0 is not a positive number");
  expect_says(refusal_of(1, {.tp = -1}), "--tp -1 is not a positive number");
}

TEST(Layout, MoreStagesThanLayersAreRefused) {
  expect_says(refusal_of(5, {.pp = 5}),
              "--pp 5 is more than num_layers = 4 (each stage holds at least one layer). "
              "Use 1 to 4.");
  EXPECT_EQ(choose(4, {.pp = 4}), (Grid{1, 4, 1, 1}));
  expect_says(refusal_of(1, {.pp = 0}), "--pp 0 is not a positive number");
  expect_says(refusal_of(1, {.dp = -2}), "--dp -2 is not a positive number");
}

TEST(Layout, AGridOfAnotherSizeIsRefused) {
  const auto message = [](const Grid& grid) {
    return refusal(ExitCode::usage, [&] { check_grid(preset("tiny"), 4, grid, 4); });
  };

  expect_says(message({1, 1, 4, 2}), "ep 4 x tp 2 has 8 ranks, but 4 were started");
  expect_says(message({2, 2, 1, 2}), "dp 2 x pp 2 x ep 1 x tp 2 has 8 ranks");
  expect_says(message({1 << 30, 1, 1, 4}), "has 4294967296 ranks");
}

TEST(Layout, AllBrokenRulesStandInOneMessage) {
  const int most = std::numeric_limits<int>::max();
  const std::string message = refusal(ExitCode::usage, [&] {
    check_grid(preset("tiny"), 4, Grid{0, most, most, most}, 64);
  });

  for (const char* option : {"--dp", "--pp", "--ep", "--tp"})
    expect_says(message, option);
}

TEST(Layout, AdmittedGridsPassTheCheck) {
  for (const int dp : {1, 2, 3})
    for (const int pp : {1, 2, 3, 4})
      for (const int ep : {1, 2, 4, 8, 16})
        for (const int tp : {1, 2, 4})
          EXPECT_NO_THROW(check_grid(preset("tiny"), 4, Grid{dp, pp, ep, tp}, dp * pp * ep * tp));
}

TEST(Layout, EarlierStagesHoldTheLayerMore) {
  EXPECT_EQ(stage_layers(7, 3, 0), (Range{0, 3}));
  EXPECT_EQ(stage_layers(7, 3, 1), (Range{3, 5}));
  EXPECT_EQ(stage_layers(7, 3, 2), (Range{5, 7}));
  EXPECT_EQ(stage_layers(4, 1, 0), (Range{0, 4}));
}

TEST(Layout, StagesTileTheLayersInOrderAndNoneIsEmpty) {
  for (int num_layers = 1; num_layers <= 20; ++num_layers)
    for (int pp = 1; pp <= num_layers; ++pp) {
      std::int64_t next = 0, previous = num_layers;
      for (int pp_rank = 0; pp_rank < pp; ++pp_rank) {
        const Range layers = stage_layers(num_layers, pp, pp_rank);

        EXPECT_EQ(layers.begin, next);
        EXPECT_GE(layers.size(), num_layers / pp);
        EXPECT_LE(layers.size(), previous);
        next = layers.end;
        previous = layers.size();
      }
      EXPECT_EQ(next, num_layers);
    }
}

TEST(Layout, AStageWithoutLayersIsOurMistake) {
  EXPECT_EQ(stage_layers(2, 3, 0).size(), 0);
  EXPECT_EQ(stage_layers(2, 3, 1), (Range{0, 1}));
  EXPECT_EQ(stage_layers(2, 3, 2), (Range{1, 2}));
  EXPECT_THROW(stage_layers(3, 3, 3), base::InternalError);
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
