// Rows and their homes, of whole passes and of selected rows.
// SPDX-License-Identifier: Apache-2.0
#include "model/pass_rows.hpp"

#include <gtest/gtest.h>

namespace tetrarch::model {
namespace {

using plan::RowsWanted;

/// Three runs: a whole sequence of 4 tokens, the middle of one of 9, the end of one of 5.
PassRows pass_rows() {
  PassRows pass_rows;
  pass_rows.rows = {{10, 0, 4, 4}, {11, 3, 3, 9, 77, 0}, {12, 3, 2, 5, -1, 9}};
  pass_rows.token = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  spread_evenly(pass_rows, 2);
  return pass_rows;
}

TEST(Microbatch, HomesShareTheRowsEvenly) {
  EXPECT_EQ(pass_rows().home(0), (plan::Range{0, 4}));
  EXPECT_EQ(pass_rows().home(1), (plan::Range{4, 9}));
  EXPECT_EQ(pass_rows().num_tokens(), 9);
}

TEST(Microbatch, SelectedRowsKeepTheirHomes) {
  const Selection first = select_rows(pass_rows(), RowsWanted::predicting, 0),
                  second = select_rows(pass_rows(), RowsWanted::predicting, 1);

  EXPECT_EQ(first.pass, (std::vector<std::int32_t>{0, 1, 2, 4, 5, 6, 7}));
  EXPECT_EQ(first.pass, second.pass);
  EXPECT_EQ(first.home, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(second.home, (std::vector<std::int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(first.pass_rows.home(0), (plan::Range{0, 3}));
  EXPECT_EQ(first.pass_rows.home(1), (plan::Range{3, 7}));
  EXPECT_EQ(first.pass_rows.token, (std::vector<std::int32_t>{0, 1, 2, 4, 5, 6, 7}));
}

TEST(Microbatch, ARunThatLosesItsEndPredictsWhatItLost) {
  const Selection selection = select_rows(pass_rows(), RowsWanted::predicting, 0);

  ASSERT_EQ(selection.pass_rows.rows.size(), 3u);
  EXPECT_EQ(selection.pass_rows.rows[0].next_token, 3);
  EXPECT_EQ(selection.pass_rows.rows[1].next_token, 77);
  EXPECT_EQ(selection.pass_rows.rows[2].next_token, 8);
  EXPECT_EQ(selection.pass_rows.rows[2].cache_row, 9);
}

TEST(Microbatch, OnlySequencesThatEndHaveALastRow) {
  const Selection selection = select_rows(pass_rows(), RowsWanted::last, 1);

  EXPECT_EQ(selection.pass, (std::vector<std::int32_t>{3, 8}));
  EXPECT_EQ(selection.home, (std::vector<std::int32_t>{4}));
  ASSERT_EQ(selection.pass_rows.rows.size(), 2u);
  EXPECT_EQ(selection.pass_rows.rows[0].first_position, 3);
  EXPECT_EQ(selection.pass_rows.rows[1].first_position, 4);
  EXPECT_TRUE(selection.pass_rows.rows[1].span().is_last());
}

}  // namespace
}  // namespace tetrarch::model
