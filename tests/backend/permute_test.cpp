// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "backend/arrays.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

class Permute : public ::testing::Test {
 protected:
  CpuCompute compute_ = portable_compute();
};

TEST_F(Permute, CopiesAreOrderedByExpertSlotAndRow) {
  // rows 0, 1, 2 chose experts {1, 0}, {0, 1}, {1, 2} of 3
  const auto expert = Array::of_ints(3, 2, {1, 0, 0, 1, 1, 2});
  Array order(DType::i32, 6, 1), position(DType::i32, 3, 2), count(DType::i32, 1, 3);

  compute_.group_by_expert(expert, order, position, count);

  const std::int32_t rows[] = {1, 0, 0, 2, 1, 2}, places[] = {2, 1, 0, 4, 3, 5},
                     counts[] = {2, 3, 1};
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(order.integer(i), rows[i]) << i;
    EXPECT_EQ(position.integer(i), places[i]) << i;
  }
  for (int id = 0; id < 3; ++id)
    EXPECT_EQ(count.integer(id), counts[id]) << id;
}

TEST_F(Permute, PositionsAndOrderAreInverse) {
  const std::int64_t rows = 500, k = 3;
  std::vector<std::int32_t> ids;
  for (std::int32_t row = 0; row < rows; ++row)
    for (std::int32_t slot = 0; slot < k; ++slot)
      ids.push_back((row * row + slot) % 7);
  const auto expert = Array::of_ints(rows, k, ids);
  Array order(DType::i32, rows * k, 1), position(DType::i32, rows, k), count(DType::i32, 1, 7);

  compute_.group_by_expert(expert, order, position, count);

  std::int32_t previous = -1;
  for (std::int64_t i = 0; i < rows * k; ++i) {
    const std::int32_t row = order.integer(i);
    std::int64_t slot = 0;
    while (slot < k && position.integer(row * k + slot) != i)
      ++slot;
    ASSERT_LT(slot, k) << "copy " << i;
    const auto rank = static_cast<std::int32_t>(
        (ids[static_cast<std::size_t>(row * k + slot)] * k + slot) * rows + row);
    ASSERT_GT(rank, previous);
    previous = rank;
  }
}

TEST_F(Permute, NoRowsHaveNoCopies) {
  const auto none = Array::of_ints(0, 2, {});
  auto count = Array::of_ints(1, 4, {9, 9, 9, 9});

  compute_.group_by_expert(none, Array(DType::i32, 0, 1), Array(DType::i32, 0, 2), count);

  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(count.integer(i), 0);
}

TEST_F(Permute, AnUnknownExpertIsRefusedInDebugBuilds) {
  if (!base::has_debug_checks) return;
  const Array order(DType::i32, 1, 1), position(DType::i32, 1, 1), count(DType::i32, 1, 3);

  for (const std::int32_t id : {-2, 3})
    EXPECT_THROW(compute_.group_by_expert(Array::of_ints(1, 1, {id}), order, position, count),
                 base::InternalError);
}

TEST_F(Permute, ADroppedCopyHasNoPlace) {
  // rows 0 1 2 choose (1, dropped), (dropped, 1), (0, 1)
  const auto expert = Array::of_ints(3, 2, {1, -1, -1, 1, 0, 1});
  Array order(DType::i32, 4, 1), position(DType::i32, 3, 2), count(DType::i32, 1, 2);

  compute_.group_by_expert(expert, order, position, count);

  const std::int32_t rows[] = {2, 0, 1, 2}, positions[] = {1, -1, -1, 2, 0, 3};
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(order.integer(i), rows[i]) << i;
  for (int i = 0; i < 6; ++i)
    EXPECT_EQ(position.integer(i), positions[i]) << i;
}

TEST_F(Permute, ACopyIsTheSameBytes) {
  const auto from = Array::random(DType::bf16, 3, 5, 1);
  Array to(DType::bf16, 3, 5);

  compute_.copy(from, to);

  for (int i = 0; i < 15; ++i)
    EXPECT_EQ(to[i], from[i]);
  EXPECT_THROW(compute_.copy(from, Array(DType::bf16, 5, 3)), base::InternalError);
}

TEST_F(Permute, RowsMoveWhole) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto from = Array::random(dtype, 10, 33, 1);
    const auto index = Array::of_ints(4, 1, {9, 0, 0, 5});
    Array to(dtype, 4, 33);

    compute_.permute_rows(from, index, to);

    for (std::int64_t row = 0; row < 4; ++row)
      EXPECT_TRUE(has_same_bits(to.tensor().row_range(row, 1),
                                from.tensor().row_range(index.integer(row), 1)));
  }
}

TEST_F(Permute, AnIndexOutsideIsRefusedInDebugBuilds) {
  if (!base::has_debug_checks) return;
  const Array from(DType::f32, 2, 4), to(DType::f32, 1, 4);

  for (const std::int32_t index : {-1, 2})
    EXPECT_THROW(compute_.permute_rows(from, Array::of_ints(1, 1, {index}), to),
                 base::InternalError);
}

TEST_F(Permute, CombineReturnsEveryTokenHome) {
  // expert e multiplies by e + 1, so the result is x times the sum of weight * (e + 1), plus the
  // residual
  const std::int64_t rows = 50, width = 19, k = 2;
  const auto x = Array::random(DType::f32, rows, width, 1);
  const auto residual = Array::random(DType::f32, rows, width, 2);
  const auto weight = Array::random(DType::f32, rows, k, 3);
  std::vector<std::int32_t> ids;
  for (std::int32_t row = 0; row < rows; ++row)
    ids.insert(ids.end(), {row % 5, (row + 2) % 5});
  Array order(DType::i32, rows * k, 1), position(DType::i32, rows, k), count(DType::i32, 1, 5);
  compute_.group_by_expert(Array::of_ints(rows, k, ids), order, position, count);
  Array copies(DType::f32, rows * k, width), out(DType::f32, rows, width);
  compute_.permute_rows(x, order, copies);
  std::int64_t copy = 0;
  for (std::int64_t expert = 0; expert < 5; ++expert)
    for (std::int32_t i = 0; i < count.integer(expert); ++i, ++copy)
      for (std::int64_t c = 0; c < width; ++c)
        copies.set(copy * width + c, copies.at(copy, c) * static_cast<float>(expert + 1));

  compute_.combine(copies, position, weight, residual, out);

  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t c = 0; c < width; ++c) {
      double expected = residual.at(row, c);
      for (std::int64_t slot = 0; slot < k; ++slot)
        expected += static_cast<double>(weight.at(row, slot)) * x.at(row, c) *
                    (ids[static_cast<std::size_t>(row * k + slot)] + 1);
      ASSERT_NEAR(out.at(row, c), expected, 2e-6);
    }
}

TEST_F(Permute, CombineRoundsOnceAndSkipsAbsentCopies) {
  // 1 + 2^-9 + 2^-9 = 1 + 2^-8 is exactly between two bf16 values; rounding after each addition
  // would lose both small values
  const auto rows = Array::of_floats(DType::bf16, 2, 1, {1, 0x1p-9f});
  const auto position = Array::of_ints(2, 3, {0, 1, 1, -1, 0, -1});
  const auto weight = Array::of_floats(DType::f32, 2, 3, {1, 1, 1, not_a_number, 0.5f, 1});
  const auto residual = Array::of_floats(DType::bf16, 2, 1, {0x1p-8f, 0});
  Array out(DType::bf16, 2, 1);

  compute_.combine(rows, position, weight, residual, out);

  EXPECT_EQ(out[0], 1 + 0x1p-7f);
  EXPECT_EQ(out[1], 0.5f);
}

}  // namespace
}  // namespace tetrarch::backend::cpu
