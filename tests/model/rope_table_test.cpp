// Cosines and sines for every position and pair.
// SPDX-License-Identifier: Apache-2.0
#include "model/rope_table.hpp"

#include <cmath>

#include <gtest/gtest.h>

#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

struct RopeTableTest : backend::EachBackend {
  RopeTableTest() {
    spec.head_size = spec.rope_dim = 8;
    spec.rope_theta = 10000;
  }
  Stage stage{small_spec(), {}};
  plan::ModelSpec spec = small_spec();
};
INSTANTIATE_TEST_SUITE_P(Backends, RopeTableTest, backend::at_hand(), backend::name_of_param);

TEST_P(RopeTableTest, AnglesAreRoundedAsInTheReferenceAndNoFurther) {
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

TEST_P(RopeTableTest, PositionZeroTurnsNothing) {
  const RopeTable table = make_rope_table(spec, 1, *stage.backend);

  EXPECT_EQ(floats_of(stage, table.cosine.tensor), std::vector<float>(4, 1.0f));
  EXPECT_EQ(floats_of(stage, table.sine.tensor), std::vector<float>(4, 0.0f));
}

TEST_P(RopeTableTest, AShorterTableHasTheBitsOfALongerOne) {
  const RopeTable longer = make_rope_table(spec, 300, *stage.backend);
  const RopeTable shorter = make_rope_table(spec, 40, *stage.backend);

  std::vector<float> begin = floats_of(stage, longer.cosine.tensor);
  begin.resize(40 * 4);
  EXPECT_EQ(floats_of(stage, shorter.cosine.tensor), begin);
}

TEST_P(RopeTableTest, LinearDividesEveryFrequency) {
  spec.rope_type = plan::RopeType::linear;
  spec.rope_scaling.factor = 2.5;

  const std::vector<float> found = rope_frequencies(spec);

  const float expected[] = {0.4f, 0.04f, 0.004f, 0.0004f};
  ASSERT_EQ(found.size(), 4u);
  for (std::size_t j = 0; j < 4; ++j)
    EXPECT_FLOAT_EQ(found[j], expected[j]);
  EXPECT_EQ(rope_attention_factor(spec), 1);
}

TEST_P(RopeTableTest, Llama3DividesOnlyTheLongWavesAndMixesBetween) {
  spec.rope_type = plan::RopeType::llama3;
  spec.rope_scaling = {.factor = 8, .orig_max = 100, .low_freq_factor = 1, .high_freq_factor = 4};

  const std::vector<float> found = rope_frequencies(spec);

  // 100 positions contain 15.9, 1.5915494, 0.159 and 0.0159 wavelengths; the bounds are 1 and 4
  const float expected[] = {1.0f, 0.1f * (0.19718314f + 0.80281686f / 8), 0.00125f, 0.000125f};
  for (std::size_t j = 0; j < 4; ++j)
    EXPECT_FLOAT_EQ(found[j], expected[j]);
  EXPECT_EQ(rope_attention_factor(spec), 1);
}

TEST_P(RopeTableTest, YarnOfGptOssHasItsKnownFrequencies) {
  spec.rope_dim = 64;
  spec.rope_theta = 150000;
  spec.rope_type = plan::RopeType::yarn;
  spec.rope_scaling = {.factor = 32, .orig_max = 4096, .truncate = false};

  const std::vector<float> found = rope_frequencies(spec);

  const std::pair<std::size_t, float> expected[] = {{0, 1.0f},
                                                    {8, 0.0508132748f},
                                                    {9, 0.0317056962f},
                                                    {12, 0.00679495949f},
                                                    {17, 1.29318701e-4f},
                                                    {18, 3.83088124e-5f},
                                                    {31, 3.02351143e-7f}};
  for (const auto& [pair, frequency] : expected)
    EXPECT_NEAR(found[pair], frequency, 2e-7f * frequency) << pair;
  EXPECT_FLOAT_EQ(rope_attention_factor(spec), 1.3465736f);
}

TEST_P(RopeTableTest, YarnOfDeepSeekHasItsKnownFrequencies) {
  spec.rope_dim = 64;
  spec.rope_type = plan::RopeType::yarn;
  spec.rope_scaling = {.factor = 40, .orig_max = 4096, .mscale = 1, .mscale_all_dim = 1};

  const std::vector<float> found = rope_frequencies(spec);

  const std::pair<std::size_t, float> expected[] = {{10, 0.0562341325f},
                                                    {11, 0.0390069266f},
                                                    {16, 0.0055f},
                                                    {23, 3.33380358e-5f},
                                                    {31, 3.33380358e-6f}};
  for (const auto& [pair, frequency] : expected)
    EXPECT_NEAR(found[pair], frequency, 2e-7f * frequency) << pair;
  EXPECT_EQ(rope_attention_factor(spec), 1);
}

TEST_P(RopeTableTest, YarnsFactorOfAttentionIsGivenOrFollowsFromTheScales) {
  spec.rope_type = plan::RopeType::yarn;
  const auto factor = [&](plan::RopeScaling scaling) {
    scaling.factor = scaling.factor == 1 ? 4 : scaling.factor;
    spec.rope_scaling = scaling;
    return rope_attention_factor(spec);
  };

  EXPECT_FLOAT_EQ(factor({}), 1.1386294f);  // 0.1 ln 4 + 1
  EXPECT_FLOAT_EQ(factor({.factor = 0.5}), 1.0f);
  EXPECT_FLOAT_EQ(factor({.attention_factor = 1.5, .mscale = 1, .mscale_all_dim = 2}), 1.5f);
  EXPECT_FLOAT_EQ(factor({.mscale = 2}), 1.1386294f);
  EXPECT_FLOAT_EQ(factor({.mscale = 2, .mscale_all_dim = 0.5}), 1.2772589f / 1.0693147f);
}

TEST_P(RopeTableTest, CosineAndSineAreTimesTheFactorOfAttention) {
  spec.rope_type = plan::RopeType::yarn;
  spec.rope_scaling = {.factor = 1, .orig_max = 64, .attention_factor = 1.5};

  const RopeTable table = make_rope_table(spec, 3, *stage.backend);

  const std::vector<float> cosine = floats_of(stage, table.cosine.tensor);
  const std::vector<float> sine = floats_of(stage, table.sine.tensor);
  EXPECT_EQ(cosine[0], 1.5f);
  EXPECT_FLOAT_EQ(cosine[2 * 4], 1.5f * std::cos(2.0f));
  EXPECT_FLOAT_EQ(sine[2 * 4], 1.5f * std::sin(2.0f));
}

TEST_P(RopeTableTest, NoPositionsAreATableAllTheSame) {
  EXPECT_EQ(make_rope_table(spec, 0, *stage.backend).sine.tensor.rows, 1);
}

}  // namespace
}  // namespace tetrarch::model
