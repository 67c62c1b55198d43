// A shard built from host bytes is complete and has the shapes that the forward pass needs.
// SPDX-License-Identifier: Apache-2.0
#include "model/weights.hpp"

#include <gtest/gtest.h>

#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

float place_of_element(const plan::TensorSpec& tensor, std::int64_t expert, std::int64_t row,
                       std::int64_t column) {
  return static_cast<float>(static_cast<int>(tensor.role) + 3 * expert + 5 * row + column) / 64;
}

/// Builds the shard of one place of a grid, on any rank.
ModelShard shard_at(const plan::ModelSpec& spec, const plan::Grid& grid, const plan::Place& place,
                    backend::Backend& backend, const std::string& without = "") {
  const plan::LocalSizes local = plan::local_sizes(spec, 4, grid, place);
  ShardBuilder builder(spec, local, plan::held_by(whole_depth(spec), 1, 0), backend);
  std::vector<plan::TensorSpec> tensors = plan::tensors_of(spec, 4);
  std::ranges::reverse(tensors);  // the order of tensors does not matter
  for (const plan::TensorSpec& tensor : tensors) {
    if (tensor.path == without) continue;
    const plan::Shard shard = plan::shard_of(tensor, grid, place);
    for (std::int64_t expert = shard.experts.begin; expert < shard.experts.end; ++expert)
      builder.add(tensor, expert, local_bytes(tensor, shard, expert, place_of_element));
  }
  return builder.take();
}

struct WeightsTest : backend::EachBackend {
  Stage stage{small_spec(), {}};
};
INSTANTIATE_TEST_SUITE_P(Backends, WeightsTest, backend::at_hand(), backend::name_of_param);

void expect_shape(const backend::Matrix& matrix, std::int64_t outputs, std::int64_t inputs) {
  EXPECT_EQ(matrix.outputs(), outputs);
  EXPECT_EQ(matrix.inputs(), inputs);
}

TEST_P(WeightsTest, ShapesAreThoseOfTheRanksPart) {
  const plan::Grid grid{1, 1, 4, 2};
  const ModelShard shard = shard_at(stage.spec, grid, {0, 0, 1, 1}, *stage.backend);
  const LayerWeights& layer = shard.layers.at(0);

  EXPECT_EQ(shard.embed.tensor.rows, 19);  // 9 + 10 of 37
  expect_shape(*shard.head, 19, 16);
  EXPECT_EQ(shard.final_norm.tensor.columns, 16);
  expect_shape(*layer.q, 16, 16);
  expect_shape(*layer.k, 8, 16);
  expect_shape(*layer.v, 8, 16);
  ASSERT_EQ(layer.o.size(), 2u);
  expect_shape(*layer.o[1], 16, 8);
  expect_shape(*layer.router, 8, 16);
  ASSERT_EQ(layer.gate.size(), 2u);
  expect_shape(*layer.gate[0], 12, 16);
  expect_shape(*layer.up[1], 12, 16);
  ASSERT_EQ(layer.down.size(), 2u);
  ASSERT_EQ(layer.down[0].size(), 2u);
  expect_shape(*layer.down[1][1], 16, 6);
}

TEST_P(WeightsTest, ColumnParallelRowsAreTheRanksRows) {
  const plan::Grid grid{1, 1, 4, 2};
  const plan::Place place{0, 0, 1, 1};
  const ModelShard shard = shard_at(stage.spec, grid, place, *stage.backend);
  // x has a 1 at input 3 only: y[j] = w[j][3]
  const backend::Buffer memory = stage.backend->allocate(2 * 16 * 4);
  const backend::Tensor x{memory->data(), base::DType::f32, 1, 1, 16};
  const backend::Tensor y{static_cast<float*>(memory->data()) + 16, base::DType::f32, 1, 1, 12};
  std::vector<float> unit(16, 0.0f);
  unit[3] = 1;
  put(stage, unit, x);

  stage.context.compute.gemm(x, *shard.layers[0].up[1], y);

  plan::TensorSpec up;
  up.role = plan::Role::up;
  const std::vector<float> found = floats_of(stage, y);
  for (std::int64_t row = 0; row < 12; ++row)  // expert 3, the second half of 24 rows
    EXPECT_EQ(found[static_cast<std::size_t>(row)], place_of_element(up, 3, 12 + row, 3));
}

TEST_P(WeightsTest, RowParallelSlicesAreTheRanksInputs) {
  const plan::Grid grid{1, 1, 4, 2};
  const ModelShard shard = shard_at(stage.spec, grid, {0, 0, 1, 1}, *stage.backend);
  const backend::Buffer memory = stage.backend->allocate(2 * 16 * 4);
  const backend::Tensor x{memory->data(), base::DType::f32, 1, 1, 6};
  const backend::Tensor y{static_cast<float*>(memory->data()) + 16, base::DType::f32, 1, 1, 16};
  put(stage, {0, 0, 1, 0, 0, 0}, x);

  stage.context.compute.gemm(x, *shard.layers[0].down[0][1], y);

  plan::TensorSpec down;
  down.role = plan::Role::down;
  const std::vector<float> found = floats_of(stage, y);
  for (std::int64_t column = 0; column < 16; ++column)  // slice 2 of 4: rows 12 .. 17
    EXPECT_EQ(found[static_cast<std::size_t>(column)], place_of_element(down, 3, 14, column));
}

TEST_P(WeightsTest, TheEmbeddingIsKeptBitByBit) {
  const ModelShard shard = shard_at(stage.spec, {}, {}, *stage.backend);

  plan::TensorSpec embed;
  embed.role = plan::Role::embed;
  const std::vector<float> found = floats_of(stage, shard.embed.tensor);
  ASSERT_EQ(found.size(), 37u * 16);
  for (std::size_t i = 0; i < found.size(); ++i)
    EXPECT_EQ(found[i], place_of_element(embed, 0, static_cast<std::int64_t>(i / 16),
                                         static_cast<std::int64_t>(i % 16)));
}

TEST_P(WeightsTest, TiedEmbeddingsAreTheHeadToo) {
  plan::ModelSpec spec = stage.spec;
  spec.tied_embeddings = true;

  const ModelShard shard = shard_at(spec, {}, {}, *stage.backend);

  expect_shape(*shard.head, 37, 16);
}

TEST_P(WeightsTest, ExpertsOfTwoMatricesHaveNoGate) {
  plan::ModelSpec spec = stage.spec;
  spec.expert_kind = plan::ExpertKind::mlp;

  const ModelShard shard = shard_at(spec, {}, {}, *stage.backend);

  EXPECT_TRUE(shard.layers[0].gate.empty());
  EXPECT_EQ(shard.layers[0].up.size(), 8u);
}

plan::ModelSpec with_dense_layer(plan::ModelSpec spec) {
  spec.num_layers = 2;
  plan::set_derived(spec);
  spec.qk_norm = plan::QkNorm::per_head;
  spec.is_moe = {true, false};
  spec.dense_ffn = 40;
  return spec;
}

/// The product of one row with the matrix; every element of the matrix takes part.
std::vector<float> product_of(Stage& stage, const backend::Matrix& matrix) {
  const backend::Buffer memory = stage.backend->allocate((matrix.inputs() + matrix.outputs()) * 4);
  const backend::Tensor x{memory->data(), base::DType::f32, 1, 1, matrix.inputs()};
  const backend::Tensor y{static_cast<float*>(memory->data()) + matrix.inputs(), base::DType::f32,
                          1, 1, matrix.outputs()};
  std::vector<float> values;
  for (std::int64_t i = 0; i < matrix.inputs(); ++i)
    values.push_back(1.0f / static_cast<float>(i + 1));
  put(stage, values, x);
  stage.context.compute.gemm(x, matrix, y);
  return floats_of(stage, y);
}

TEST_P(WeightsTest, BytesMayBeCutAnywhere) {
  stage.spec.tied_embeddings = true;
  const ModelShard whole = shard_at(stage.spec, {}, {}, *stage.backend);
  for (const std::size_t step : {1u, 7u, 64u, 100u, 1000u}) {
    ShardBuilder builder(stage.spec, stage.context.local,
                         plan::held_by(whole_depth(stage.spec), 1, 0), *stage.backend);
    for (const plan::TensorSpec& tensor : plan::tensors_of(stage.spec, 4))
      for (std::int64_t expert = 0; expert < tensor.num_experts; ++expert) {
        const auto bytes =
            local_bytes(tensor, plan::shard_of(tensor, {}, {}), expert, place_of_element);
        for (std::size_t at = 0; at < bytes.size(); at += step)
          builder.add(tensor, expert,
                      std::span(bytes).subspan(at, std::min(step, bytes.size() - at)));
      }
    const ModelShard cut = builder.take();
    const LayerWeights &a = cut.layers[0], &b = whole.layers[0];

    EXPECT_EQ(floats_of(stage, cut.embed.tensor), floats_of(stage, whole.embed.tensor)) << step;
    EXPECT_EQ(product_of(stage, *cut.head), product_of(stage, *whole.head)) << step;
    EXPECT_EQ(product_of(stage, *a.up[3]), product_of(stage, *b.up[3])) << step;
    EXPECT_EQ(product_of(stage, *a.o[2]), product_of(stage, *b.o[2])) << step;
    EXPECT_EQ(product_of(stage, *a.down[3][7]), product_of(stage, *b.down[3][7])) << step;
  }
}

TEST_P(WeightsTest, ADenseLayerHasTheRanksPartOfOneFfn) {
  const plan::Grid grid{1, 1, 4, 2};
  const ModelShard shard =
      shard_at(with_dense_layer(stage.spec), grid, {0, 0, 1, 1}, *stage.backend);
  const LayerWeights& dense = shard.layers.at(1);

  expect_shape(*dense.dense_gate, 20, 16);
  expect_shape(*dense.dense_up, 20, 16);
  ASSERT_EQ(dense.dense_down.size(), 2u);
  expect_shape(*dense.dense_down[1], 16, 10);
  EXPECT_TRUE(dense.gate.empty() && dense.up.empty() && dense.down.empty());
  EXPECT_EQ(dense.router, nullptr);
  EXPECT_EQ(shard.layers[0].dense_up, nullptr);
  EXPECT_EQ(shard.layers[0].up.size(), 2u);
  EXPECT_EQ(dense.q_norm.tensor.columns, 4);
  EXPECT_EQ(dense.k_norm.tensor.columns, 4);
}

TEST_P(WeightsTest, WithoutHeadNormsTheyAreAbsent) {
  const ModelShard shard = shard_at(stage.spec, {}, {}, *stage.backend);

  EXPECT_TRUE(shard.layers[0].q_norm.tensor.is_absent());
  EXPECT_TRUE(shard.layers[0].k_norm.tensor.is_absent());
}

TEST_P(WeightsTest, AMissingTensorIsNoticed) {
  for (const plan::ModelSpec& spec : {stage.spec, with_dense_layer(stage.spec)})
    for (const plan::TensorSpec& tensor : plan::tensors_of(spec, 4))
      EXPECT_THROW(shard_at(spec, {}, {}, *stage.backend, tensor.path), base::InternalError)
          << tensor.path;
}

TEST_P(WeightsTest, TooFewOrTooManyBytesAreRefused) {
  ShardBuilder builder(stage.spec, stage.context.local,
                       plan::held_by(whole_depth(stage.spec), 1, 0), *stage.backend);
  const std::vector<plan::TensorSpec> tensors = plan::tensors_of(stage.spec, 4);
  const plan::TensorSpec &embed = tensors[0], &norm = tensors[1];
  const std::vector<std::byte> bytes(static_cast<std::size_t>(embed.bytes()));

  builder.add(embed, 0, std::span(bytes).first(64));

  EXPECT_THROW(builder.add(norm, 0, std::span(bytes).first(64)), base::InternalError);
  EXPECT_THROW(builder.add(embed, 0, bytes), base::InternalError);
  EXPECT_THROW(builder.take(), base::InternalError);
}

}  // namespace
}  // namespace tetrarch::model
