// Operands that do not fit are refused, with the operation, the operand and the size.
// SPDX-License-Identifier: Apache-2.0
#include "backend/operands.hpp"

#include <string>

#include <gtest/gtest.h>

namespace tetrarch::backend {
namespace {

using base::DType;

template <class Call>
std::string defect(const Call& call) {
  try {
    call();
  } catch (const base::InternalError& error) {
    return error.what();
  }
  return "";
}

Tensor rows(std::int64_t count, std::int64_t columns, DType dtype = DType::f32) {
  return {nullptr, dtype, 1, count, columns};
}

TEST(Operands, ThatFitAreTaken) {
  EXPECT_EQ(defect([] { operands::rms_norm(rows(3, 8), rows(1, 8), rows(3, 8)); }), "");
}

TEST(Operands, AnotherSizeIsNamedWithBothOperands) {
  EXPECT_EQ(defect([] { operands::rms_norm(rows(3, 8), rows(1, 8), rows(2, 8)); }),
            "rms_norm: y has 2 rows, x has 3");
}

TEST(Operands, AnotherDtypeIsNamed) {
  EXPECT_EQ(defect([] { operands::rms_norm(rows(3, 8), rows(1, 8, DType::bf16), rows(3, 8)); }),
            "rms_norm: weight is bf16, expected f32");
  EXPECT_EQ(defect([] { operands::rms_norm(rows(3, 8, DType::i32), rows(1, 8), rows(3, 8)); }),
            "rms_norm: x is i32, expected f32 or bf16");
}

}  // namespace
}  // namespace tetrarch::backend
