// Experts with a capacity keep copies in the order (slot, place in the microbatch), however the
// rows are spread over ranks.
// SPDX-License-Identifier: Apache-2.0
#include "model/capacity.hpp"

#include <algorithm>

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace tetrarch::model {
namespace {

using Ids = std::vector<std::int32_t>;

TEST(Capacity, IsTheFactorTimesTheMeanRoundedUp) {
  EXPECT_EQ(capacity_of(1.0, 16, 2, 8), 4);
  EXPECT_EQ(capacity_of(1.0, 17, 2, 8), 5);
  EXPECT_EQ(capacity_of(1.25, 16, 2, 8), 5);
  EXPECT_EQ(capacity_of(0.01, 16, 2, 8), 1);
  EXPECT_EQ(capacity_of(1.1, 400, 2, 16), 55);  // 1.1 * 50 is slightly above 55 in binary
  EXPECT_EQ(capacity_of(1e6, 400, 2, 16), 800);
}

TEST(Capacity, TheFirstInPlaceAreKept) {
  EXPECT_EQ(kept_choices(Ids{0, 1, 0, 1}, Ids{0, 1, 2, 3}, 1, 2, 1, {0, 4}), (Ids{0, 1, -1, -1}));
  EXPECT_EQ(kept_choices(Ids{0, 1, 0, 1}, Ids{3, 2, 1, 0}, 1, 2, 1, {0, 4}), (Ids{-1, -1, 0, 1}));
}

TEST(Capacity, ASlotComesBeforeAPlace) {
  // token 0 chooses expert 1 in slot 1, token 1 chooses it in slot 0: token 1 gets the only place
  EXPECT_EQ(kept_choices(Ids{0, 1, 1, 0}, Ids{0, 1}, 2, 2, 1, {0, 2}), (Ids{0, -1, 1, -1}));
}

TEST(Capacity, RanksDecideAlikeAboutTheirOwnRows) {
  const Ids ids{2, 0, 0, 2, 2, 1, 0, 2, 1, 0}, place{4, 0, 3, 1, 2};
  const Ids whole = kept_choices(ids, place, 2, 3, 2, {0, 5});

  Ids parts = kept_choices(ids, place, 2, 3, 2, {0, 2});
  for (const std::int32_t id : kept_choices(ids, place, 2, 3, 2, {2, 5}))
    parts.push_back(id);

  EXPECT_EQ(parts, whole);
  EXPECT_EQ(std::ranges::count(whole, 2), 2);
}

TEST(Capacity, ChoicesThatDoNotFitThePlacesAreADefect) {
  EXPECT_THROW(kept_choices(Ids{0}, Ids{0, 1}, 1, 2, 1, {0, 2}), base::InternalError);
}

TEST(Capacity, PlacesThatAreNoOrderAreRefusedInDebugBuilds) {
  if (!base::has_debug_checks) return;

  EXPECT_THROW(kept_choices(Ids{0, 1}, Ids{0, 0}, 1, 2, 1, {0, 2}), base::InternalError);
  EXPECT_THROW(kept_choices(Ids{0, 1}, Ids{0, 2}, 1, 2, 1, {0, 2}), base::InternalError);
}

}  // namespace
}  // namespace tetrarch::model
