// Each head of queries and keys is normed separately, with one weight for all heads.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <gtest/gtest.h>

#include "model/row_operations.hpp"
#include "model/stage.hpp"

namespace tetrarch::model {
namespace {

struct HeadNormTest : backend::EachBackend {
  OwnedTensor vector_of(const std::vector<float>& values, std::int64_t rows) {
    OwnedTensor vector;
    const auto bytes = static_cast<std::int64_t>(values.size() * 4);
    vector.memory = stage.backend->allocate(bytes);
    vector.tensor = {vector.memory->data(), base::DType::f32, 1, rows, std::ssize(values) / rows};
    put(stage, values, vector.tensor);
    return vector;
  }
  Stage stage{small_spec(), {}};  // heads of size 4
};
INSTANTIATE_TEST_SUITE_P(Backends, HeadNormTest, backend::at_hand(), backend::name_of_param);

TEST_P(HeadNormTest, EveryHeadOfEveryRowIsNormedByItself) {
  const std::vector<float> values = {1, 2, 3, 4, 10, 20, 30, 40, -1, 1, -1, 1,
                                     8, 0, 0, 0, 0,  0,  0,  -3, 5,  5, 5,  5};
  const std::vector<float> scale = {1, 2, 0.5f, -1};
  const OwnedTensor x = vector_of(values, 2);

  norm_heads(stage.context, vector_of(scale, 1), x.tensor);

  const std::vector<float> found = floats_of(stage, x.tensor);
  for (std::size_t head = 0; head < values.size(); head += 4) {
    double squares = 0;
    for (std::size_t j = 0; j < 4; ++j)
      squares += double{values[head + j]} * double{values[head + j]};
    for (std::size_t j = 0; j < 4; ++j)
      EXPECT_NEAR(found[head + j], scale[j] * values[head + j] / std::sqrt(squares / 4 + 1e-5),
                  1e-6);
  }
}

TEST_P(HeadNormTest, WithoutAWeightNothingChanges) {
  const std::vector<float> values = {1, 2, 3, 4, 10, 20, 30, 40};
  const OwnedTensor x = vector_of(values, 1);

  norm_heads(stage.context, OwnedTensor{}, x.tensor);

  EXPECT_EQ(floats_of(stage, x.tensor), values);
}

}  // namespace
}  // namespace tetrarch::model
