// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "backend/arrays.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

struct Routed {
  Array id, weight;
};

Routed route(const Tensor& logits, std::int64_t k, bool renormalise = false, float scale = 1) {
  CpuCompute compute = portable_compute();
  Routed routed{Array(DType::i32, logits.rows, k), Array(DType::f32, logits.rows, k)};
  compute.softmax_top_k(logits, renormalise, scale, routed.id, routed.weight);
  return routed;
}

TEST(Router, ChoosesTheMostLikelyFirst) {
  const float ln2 = std::log(2.0f);
  // probabilities 1/8 4/8 2/8 1/8
  const auto logits = Array::of_floats(DType::f32, 1, 4, {0, 2 * ln2, ln2, 0});

  const Routed plain = route(logits, 2), renormalised = route(logits, 2, true, 3);

  EXPECT_EQ(plain.id.integer(0), 1);
  EXPECT_EQ(plain.id.integer(1), 2);
  EXPECT_NEAR(plain.weight[0], 0.5, 1e-7);
  EXPECT_NEAR(plain.weight[1], 0.25, 1e-7);
  EXPECT_NEAR(renormalised.weight[0], 2, 1e-6);
  EXPECT_NEAR(renormalised.weight[1], 1, 1e-6);
}

TEST(Router, TiesGoToTheLowerExpert) {
  const auto logits = Array::of_floats(DType::f32, 2, 6, {1, 3, 3, 1, 3, 1, 0, 0, 0, 0, 0, 0});

  const Routed routed = route(logits, 4);

  const std::int32_t expected[] = {1, 2, 4, 0, 0, 1, 2, 3};
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(routed.id.integer(i), expected[i]) << i;
}

TEST(Router, IsRightForAnyNumberOfExperts) {
  for (const std::int64_t experts : {1, 2, 15, 16, 17, 60, 128, 1000, 1024}) {
    const auto logits = Array::random(DType::f32, 5, experts, 7, 20);
    const std::int64_t k = std::min<std::int64_t>(experts, 8);

    const Routed routed = route(logits, k);

    for (std::int64_t row = 0; row < 5; ++row) {
      double total = 0;
      for (std::int64_t e = 0; e < experts; ++e)
        total += std::exp(logits.at(row, e));
      std::set<std::int32_t> seen;
      for (std::int64_t slot = 0; slot < k; ++slot) {
        const std::int32_t id = routed.id.integer(row * k + slot);
        const double chance = std::exp(logits.at(row, id)) / total;
        EXPECT_TRUE(seen.insert(id).second);
        EXPECT_NEAR(routed.weight.at(row, slot), chance, chance * 1e-6 + 1e-30);
        if (slot > 0) {
          EXPECT_LE(logits.at(row, id), logits.at(row, routed.id.integer(row * k + slot - 1)));
        }
      }
      for (std::int32_t e = 0; e < experts; ++e) {
        if (seen.count(e) != 0) continue;
        EXPECT_LE(logits.at(row, e), logits.at(row, routed.id.integer(row * k + k - 1)));
      }
    }
  }
}

TEST(Router, BadLogitsGiveValidIdsAndVisibleWeights) {
  Array logits(DType::f32, 4, 5);
  for (std::int64_t e = 0; e < 5; ++e) {
    logits.set(e, not_a_number);
    logits.set(5 + e, -infinity);
    logits.set(10 + e, infinity);
    logits.set(15 + e, e == 2 ? not_a_number : static_cast<float>(e));
  }

  const Routed routed = route(logits, 5);

  for (std::int64_t row = 0; row < 4; ++row) {
    std::set<std::int32_t> seen;
    for (std::int64_t slot = 0; slot < 5; ++slot) {
      const std::int32_t id = routed.id.integer(row * 5 + slot);
      EXPECT_TRUE(id >= 0 && id < 5 && seen.insert(id).second);
      EXPECT_TRUE(std::isnan(routed.weight.at(row, slot))) << row;
    }
  }
  EXPECT_EQ(routed.id.integer(15), 4);
  EXPECT_EQ(routed.id.integer(19), 2);
}

TEST(Router, RowBitsDependOnNothingElse) {
  const auto logits = Array::random(DType::f32, 3000, 60, 3, 5);
  const Routed whole = route(logits, 4, true);

  for (const std::int64_t row : {0, 1, 777, 2999}) {
    const Routed one = route(logits.tensor().row_range(row, 1), 4, true);

    EXPECT_TRUE(has_same_bits(one.id, whole.id.tensor().row_range(row, 1)));
    EXPECT_TRUE(has_same_bits(one.weight, whole.weight.tensor().row_range(row, 1)));
  }
  EXPECT_EQ(route(Array(DType::f32, 0, 60), 4).id.size(), 0);
}

}  // namespace
}  // namespace tetrarch::backend::cpu
