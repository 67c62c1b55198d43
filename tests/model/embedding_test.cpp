// Embedding rows arrive at the homes of their tokens with unchanged bits, on any number of tp
// ranks.
// SPDX-License-Identifier: Apache-2.0
#include "model/embedding.hpp"

#include <bit>
#include <limits>

#include <gtest/gtest.h>

#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

/// Every element has a different value; among them are a negative zero, an infinity, a NaN and a
/// denormal.
float table_value(const plan::TensorSpec& tensor, std::int64_t, std::int64_t row,
                  std::int64_t column) {
  if (tensor.role != plan::Role::embed) return 1.0f;
  if (column == 3) return -0.0f;
  if (row == 11 && column == 5) return std::numeric_limits<float>::infinity();
  if (row == 12) return std::numeric_limits<float>::quiet_NaN();
  if (row == 13) return std::numeric_limits<float>::denorm_min();
  return static_cast<float>(row * 16 + column) * (column % 2 == 0 ? 0.25f : -0.25f);
}

std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits;
  for (const float value : values)
    bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

/// Embeds the tokens on a grid with all ranks in tp, and compares the rows with the table.
void expect_embedded(base::DType dtype, const std::vector<std::int32_t>& tokens) {
  const int ranks = mpi::everyone().size();
  Stage stage(small_spec(dtype), {1, 1, 1, ranks});
  const ModelShard shard = make_shard(stage, table_value);
  Workspace workspace(stage.memory({std::max<std::int64_t>(1, std::ssize(tokens))}, 2.0),
                      *stage.backend);
  PassRows pass_rows = pass_rows_of({std::ssize(tokens)}, tokens);
  begin(stage, pass_rows, workspace);

  embed_tokens(stage.context, shard, workspace);

  const plan::TensorSpec table = plan::tensors_of(stage.spec, 4).front();
  std::vector<float> expected;
  for (std::int64_t row = workspace.home().begin; row < workspace.home().end; ++row)
    for (std::int64_t column = 0; column < 16; ++column) {
      const float value = table_value(table, 0, tokens[static_cast<std::size_t>(row)], column);
      expected.push_back(dtype == base::DType::f32 ? value : base::to_float(base::to_bf16(value)));
    }
  EXPECT_EQ(bits_of(floats_of(stage, workspace.residual())), bits_of(expected));
}

using EmbeddingTest = backend::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, EmbeddingTest, backend::at_hand(), backend::name_of_param);

TEST_P(EmbeddingTest, EveryTokenOfTheVocabularyFindsItsRow) {
  std::vector<std::int32_t> tokens;
  for (std::int32_t i = 0; i < 37; ++i)
    tokens.push_back((i * 10) % 37);  // all token ids, not in order

  expect_embedded(base::DType::f32, tokens);
  expect_embedded(base::DType::bf16, tokens);
}

TEST_P(EmbeddingTest, RepeatedTokensFindTheSameRow) {
  expect_embedded(base::DType::f32, std::vector<std::int32_t>(13, 36));
  // the edges of the vocabulary slices
  expect_embedded(base::DType::f32, {9, 8, 9, 8, 9, 17, 18, 26, 27, 0, 36});
}

TEST_P(EmbeddingTest, FewerTokensThanRanksAreEnough) {
  expect_embedded(base::DType::f32, {20});
  expect_embedded(base::DType::f32, {36, 0, 20});
  expect_embedded(base::DType::f32, {});
}

TEST_P(EmbeddingTest, ATokenBeyondTheVocabularyIsADefect) {
  // one rank reads its table without looking for the rank that holds a token
  if (mpi::everyone().size() == 1) return;

  EXPECT_THROW(expect_embedded(base::DType::f32, {1, 37}), base::InternalError);
}

}  // namespace
}  // namespace tetrarch::model
