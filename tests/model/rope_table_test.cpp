// Cosines and sines of every position and pair.
// SPDX-License-Identifier: Apache-2.0
#include "model/rope_table.hpp"

#include <cmath>

#include <gtest/gtest.h>

#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

struct RopeTableTest : ::testing::Test {
  RopeTableTest() {
    spec.head_size = spec.rope_dim = 8;
    spec.rope_theta = 10000;
  }
  Stage stage{small_spec(), {}};
  plan::ModelSpec spec = small_spec();
};

TEST_F(RopeTableTest, AnglesAreRoundedAsInTheReferenceAndNoFurther) {
  const RopeTable table = make_rope_table(spec, 5000, *stage.backend);

  ASSERT_EQ(table.cosine.tensor.rows, 5000);
  ASSERT_EQ(table.cosine.tensor.columns, 4);
  const std::vector<float> cosine = floats_of(stage, table.cosine.tensor);
  const std::vector<float> sine = floats_of(stage, table.sine.tensor);
  const float frequency[] = {1.0f, 0.1f, 0.01f, 0.001f};  // 10000^(-2j / 8)
  for (const std::size_t position : {0, 1, 17, 4999})
    for (std::size_t j = 0; j < 4; ++j) {
      const float angle = static_cast<float>(position) * frequency[j];
      EXPECT_FLOAT_EQ(cosine[position * 4 + j], static_cast<float>(std::cos(double{angle})));
      EXPECT_FLOAT_EQ(sine[position * 4 + j], static_cast<float>(std::sin(double{angle})));
    }
}

TEST_F(RopeTableTest, PositionZeroTurnsNothing) {
  const RopeTable table = make_rope_table(spec, 1, *stage.backend);

  EXPECT_EQ(floats_of(stage, table.cosine.tensor), std::vector<float>(4, 1.0f));
  EXPECT_EQ(floats_of(stage, table.sine.tensor), std::vector<float>(4, 0.0f));
}

TEST_F(RopeTableTest, AShorterTableHasTheBitsOfALongerOne) {
  const RopeTable longer = make_rope_table(spec, 300, *stage.backend);
  const RopeTable shorter = make_rope_table(spec, 40, *stage.backend);

  std::vector<float> begin = floats_of(stage, longer.cosine.tensor);
  begin.resize(40 * 4);
  EXPECT_EQ(floats_of(stage, shorter.cosine.tensor), begin);
}

TEST_F(RopeTableTest, NoPositionsAreATableAllTheSame) {
  EXPECT_EQ(make_rope_table(spec, 0, *stage.backend).sine.tensor.rows, 1);
}

}  // namespace
}  // namespace tetrarch::model
