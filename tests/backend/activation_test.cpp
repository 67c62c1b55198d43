// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <gtest/gtest.h>

#include "backend/arrays.hpp"
#include "backend/cpu/kernels/kernels.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

double expected(double x, ActivationKind kind) {
  switch (kind) {
    case ActivationKind::silu:
      return x / (1 + std::exp(-x));
    case ActivationKind::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case ActivationKind::gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  }
  return 0;
}

class Activation : public ::testing::TestWithParam<ActivationKind> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Activation,
                         ::testing::Values(ActivationKind::silu, ActivationKind::gelu_tanh,
                                           ActivationKind::gelu));

TEST_P(Activation, IsRightFromFarLeftToFarRight) {
  Array x(DType::f32, 1, 4001), out(DType::f32, 1, 4001);
  for (std::int64_t i = 0; i < 4001; ++i)
    x.set(i, static_cast<float>(i - 2000) * 0.01f);

  activation(x, {}, GetParam(), out);

  for (std::int64_t i = 0; i < 4001; ++i) {
    const double y = expected(x[i], GetParam());
    ASSERT_NEAR(out[i], y, std::abs(y) * 1e-6 + 3e-7) << "at " << x[i];
  }
  EXPECT_EQ(out[2000], 0);
}

TEST_P(Activation, ExtremesAreFinite) {
  const auto x = Array::of_floats(DType::f32, 1, 4, {-3e38f, 3e38f, -1e5f, 1e-40f});
  Array out(DType::f32, 1, 4);

  activation(x, {}, GetParam(), out);

  EXPECT_EQ(out[0], 0);
  EXPECT_EQ(out[1], 3e38f);
  EXPECT_EQ(out[2], 0);
  EXPECT_NEAR(out[3], 5e-41, 1e-44);
}

TEST_P(Activation, GluRoundsTheActivationAndThenTheProduct) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto gate = Array::random(dtype, 7, 84, 1, 4), up = Array::random(dtype, 7, 84, 2);
    Array plain(dtype, 7, 84), out(dtype, 7, 84);

    activation(gate, {}, GetParam(), plain);
    activation(gate, up, GetParam(), out);

    for (std::int64_t i = 0; i < out.size(); ++i)
      ASSERT_EQ(out[i], rounded(plain[i] * up[i], dtype));
  }
}

TEST_P(Activation, SlicesAreDense) {
  const auto gate = Array::random(DType::bf16, 5, 84, 1), up = Array::random(DType::bf16, 5, 84, 2);
  Array whole(DType::bf16, 5, 84), sliced(DType::bf16, 5, 21, 4);

  activation(gate, up, GetParam(), whole);
  activation(gate, up, GetParam(), sliced);

  for (std::int64_t slice = 0; slice < 4; ++slice)
    for (std::int64_t row = 0; row < 5; ++row)
      for (std::int64_t c = 0; c < 21; ++c)
        ASSERT_EQ(sliced[(slice * 5 + row) * 21 + c], whole.at(row, slice * 21 + c));
}

TEST_P(Activation, ANarrowSliceHasTheBitsOfAWideOne) {
  const auto wide = Array::random(DType::f32, 3, 100, 1, 5);
  Array narrow(DType::f32, 3, 37), out(DType::f32, 3, 100), part(DType::f32, 3, 37);
  for (std::int64_t i = 0; i < narrow.size(); ++i)
    narrow.set(i, wide.at(i / 37, 11 + i % 37));

  activation(wide, {}, GetParam(), out);
  activation(narrow, {}, GetParam(), part);

  for (std::int64_t i = 0; i < part.size(); ++i)
    ASSERT_EQ(part[i], out.at(i / 37, 11 + i % 37));
}

TEST_P(Activation, NoRowsAreNoWork) {
  const Array none(DType::f32, 0, 8);

  EXPECT_NO_THROW(activation(none, {}, GetParam(), none));
}

}  // namespace
}  // namespace tetrarch::backend::cpu
