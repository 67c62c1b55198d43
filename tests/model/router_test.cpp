// The choice of experts, for rows whose result can be checked by eye.
// SPDX-License-Identifier: Apache-2.0
#include "model/router.hpp"

#include <cmath>

#include <gtest/gtest.h>

#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

/// The router weight of expert e is 1 in column e and 0 elsewhere; norm weights are 1.
float identity_router(const plan::TensorSpec& tensor, std::int64_t, std::int64_t row,
                      std::int64_t column) {
  if (tensor.role == plan::Role::router) return row == column ? 1.0f : 0.0f;
  return 1.0f;
}

/// Rows [n, 16] routed with the weights above.
struct Routed {
  explicit Routed(const plan::ModelSpec& spec, const std::vector<float>& rows)
      : stage(spec, {}),
        workspace(stage.memory({std::ssize(rows) / 16}, 2.0), *stage.backend),
        pass_rows(
            pass_rows_of({std::ssize(rows) / 16}, std::vector<std::int32_t>(rows.size() / 16))),
        shard(make_shard(stage, identity_router)) {
    begin(stage, pass_rows, workspace);
    put(stage, rows, workspace.residual());
    normed = floats_of(stage, router_step(stage.context, shard.layers[0], workspace));
  }
  std::vector<std::int32_t> expert_ids() const {
    return integers_of(stage, workspace.routing.expert_id);
  }
  std::vector<float> weights() const { return floats_of(stage, workspace.routing.gate_weight); }

  Stage stage;
  Workspace workspace;
  PassRows pass_rows;
  ModelShard shard;
  std::vector<float> normed;
};

/// Three rows whose largest and second largest columns are 3 and 6, 6 and 0, 0 and 3.
std::vector<float> three_rows() {
  std::vector<float> rows(48, 0.0f);
  rows[3] = 4, rows[6] = 2;
  rows[16 + 6] = 4, rows[16 + 0] = 2;
  rows[32 + 0] = 4, rows[32 + 3] = 2;
  return rows;
}

using RouterTest = backend::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, RouterTest, backend::at_hand(), backend::name_of_param);

TEST_P(RouterTest, ChoosesTheLargestLogitsMostLikelyFirst) {
  const Routed routed(small_spec(), three_rows());

  EXPECT_EQ(routed.expert_ids(), (std::vector<std::int32_t>{3, 6, 6, 0, 0, 3}));
}

TEST_P(RouterTest, WeightsAreTheSoftmaxOfTheTwoWhenRenormalised) {
  const Routed routed(small_spec(), three_rows());

  // rms of a row = sqrt((16 + 4) / 16); logits 4 / rms and 2 / rms
  const double rms = std::sqrt(20.0 / 16 + 1e-5);
  const double first = 1 / (1 + std::exp(-2 / rms));
  for (std::size_t row = 0; row < 3; ++row) {
    EXPECT_NEAR(routed.weights()[2 * row], first, 1e-6);
    EXPECT_NEAR(routed.weights()[2 * row + 1], 1 - first, 1e-6);
    EXPECT_NEAR(routed.normed[16 * row + 3], three_rows()[16 * row + 3] / rms, 1e-6);
  }
}

TEST_P(RouterTest, WeightsAreThoseOfAllExpertsWhenNotRenormalisedAndScaled) {
  plan::ModelSpec spec = small_spec();
  spec.router_renorm = plan::RouterRenorm::none;
  spec.router_scale = 2.5;

  const Routed routed(spec, three_rows());

  const double rms = std::sqrt(20.0 / 16 + 1e-5);
  const double sum = std::exp(4 / rms) + std::exp(2 / rms) + 6;
  EXPECT_NEAR(routed.weights()[0], 2.5 * std::exp(4 / rms) / sum, 1e-6);
  EXPECT_NEAR(routed.weights()[1], 2.5 * std::exp(2 / rms) / sum, 1e-6);
}

TEST_P(RouterTest, TiesGoToTheLowerExpert) {
  const Routed routed(small_spec(), std::vector<float>(32, 3.0f));

  EXPECT_EQ(routed.expert_ids(), (std::vector<std::int32_t>{0, 1, 0, 1}));
  EXPECT_EQ(routed.weights(), std::vector<float>(4, 0.5f));
}

TEST_P(RouterTest, CopiesAreOrderedByExpertSlotAndToken) {
  const Routed routed(small_spec(), three_rows());
  const Routing& routing = routed.workspace.routing;

  // (0, slot 0, token 2) (0, 1, 1) (3, 0, 0) (3, 1, 2) (6, 0, 1) (6, 1, 0)
  EXPECT_EQ(integers_of(routed.stage, routing.order),
            (std::vector<std::int32_t>{2, 1, 0, 2, 1, 0}));
  EXPECT_EQ(integers_of(routed.stage, routing.position),
            (std::vector<std::int32_t>{2, 5, 4, 1, 0, 3}));
  std::vector<std::int32_t> count(8, 0);
  for (const std::size_t expert : {0, 3, 6})
    count[expert] = 2;
  EXPECT_EQ(integers_of(routed.stage, routing.count), count);
}

TEST_P(RouterTest, NoRowsAreRoutedNowhere) {
  const Routed routed(small_spec(), {});

  EXPECT_TRUE(routed.expert_ids().empty());
  EXPECT_EQ(integers_of(routed.stage, routed.workspace.routing.count),
            std::vector<std::int32_t>(8, 0));
}

}  // namespace
}  // namespace tetrarch::model
