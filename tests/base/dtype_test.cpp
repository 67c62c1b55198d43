// Rounding to bf16, checked on the bits.
// SPDX-License-Identifier: Apache-2.0
#include "base/dtype.hpp"

#include <array>
#include <cmath>

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace tetrarch::base {
namespace {

float float_of(std::uint32_t bits) {
  return std::bit_cast<float>(bits);
}
std::uint16_t rounded(std::uint32_t bits) {
  return to_bf16(float_of(bits)).bits;
}

TEST(Dtype, EveryBf16ComesBackFromF32) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const bf16 value{static_cast<std::uint16_t>(bits)};
    const float wide = to_float(value);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_float(to_bf16(wide)))) << bits;
    } else {
      EXPECT_EQ(to_bf16(wide).bits, bits);
    }
  }
}

TEST(Dtype, TiesGoToTheEvenNeighbour) {
  EXPECT_EQ(rounded(0x3f808000), 0x3f80);  // 1 + half a step: 1 is even
  EXPECT_EQ(rounded(0x3f818000), 0x3f82);  // between 0x3f81 (odd) and 0x3f82
  EXPECT_EQ(rounded(0xbf808000), 0xbf80);
  EXPECT_EQ(rounded(0xbf818000), 0xbf82);
}

TEST(Dtype, OneBitOffTheTieDecides) {
  EXPECT_EQ(rounded(0x3f807fff), 0x3f80);
  EXPECT_EQ(rounded(0x3f808001), 0x3f81);
  EXPECT_EQ(rounded(0x3f817fff), 0x3f81);
}

TEST(Dtype, RoundingCarriesIntoTheExponentAndToInfinity) {
  EXPECT_EQ(rounded(0x3fffffff), 0x4000);  // just below 2
  EXPECT_EQ(rounded(0x7f7fffff), 0x7f80);  // the largest f32
  EXPECT_EQ(rounded(0xff7fffff), 0xff80);
  EXPECT_EQ(rounded(0x7f7f7fff), 0x7f7f);  // stays the largest bf16
}

TEST(Dtype, InfinitiesAndZerosKeepTheirSigns) {
  EXPECT_EQ(rounded(0x7f800000), 0x7f80);
  EXPECT_EQ(rounded(0xff800000), 0xff80);
  EXPECT_EQ(rounded(0x00000000), 0x0000);
  EXPECT_EQ(rounded(0x80000000), 0x8000);
}

TEST(Dtype, EveryNanStaysAQuietNan) {
  // 0x7f800001 cut to its upper half would be infinity; 0xffffffff plus half a step would be 0
  for (const std::uint32_t bits :
       {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
    const std::uint16_t half = rounded(bits);
    EXPECT_GT(half & 0x7fffu, 0x7f80u) << bits;
    EXPECT_NE(half & 0x40u, 0u) << bits;
    EXPECT_EQ(half >> 15, bits >> 31);
  }
}

TEST(Dtype, DenormalsRoundLikeOthers) {
  EXPECT_EQ(rounded(0x00000001), 0x0000);
  EXPECT_EQ(rounded(0x00008000), 0x0000);  // half of the smallest bf16: a tie
  EXPECT_EQ(rounded(0x00008001), 0x0001);
  EXPECT_EQ(rounded(0x00018000), 0x0002);
  EXPECT_EQ(rounded(0x007fffff), 0x0080);  // the largest denormal becomes normal
  EXPECT_EQ(rounded(0x80008001), 0x8001);
}

TEST(Dtype, SpansConvertElementByElement) {
  const std::array<float, 3> from{1.0f, -2.5f, float_of(0x3f818000)};
  std::array<bf16, 3> half{};
  std::array<float, 3> back{};

  to_bf16(from, half);
  to_float(half, back);

  EXPECT_EQ(back, (std::array<float, 3>{1.0f, -2.5f, float_of(0x3f820000)}));
  EXPECT_THROW(to_bf16(from, std::span(half).first(2)), InternalError);
  EXPECT_THROW(to_float(half, std::span(back).first(2)), InternalError);
}

TEST(Dtype, SizesAndNamesAreThoseOfTheFiles) {
  EXPECT_EQ(size_of(DType::f32), 4);
  EXPECT_EQ(size_of(DType::bf16), 2);
  EXPECT_EQ(size_of(DType::i32), 4);
  EXPECT_EQ(size_of(DType::u32), 4);
  EXPECT_EQ(size_of(DType::u16), 2);
  EXPECT_EQ(size_of(DType::u8), 1);
  EXPECT_EQ(size_of(DType::u64), 8);
  EXPECT_EQ(size_of(DType::f64), 8);
  EXPECT_EQ(name_of(DType::bf16), "bf16");
  EXPECT_EQ(name_of(DType::u64), "u64");
}

TEST(Dtype, AModelIsF32OrBf16) {
  EXPECT_EQ(model_dtype_from("f32"), DType::f32);
  EXPECT_EQ(model_dtype_from("bf16"), DType::bf16);
  for (const char* name : {"f16", "BF16", "", "u8"}) {
    try {
      model_dtype_from(name);
      ADD_FAILURE() << name;
    } catch (const Refusal& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_NE(std::string(error.what()).find("Use f32 or bf16"), std::string::npos);
    }
  }
}

TEST(Dtype, TheValueOfFailedSequencesIsTheQuietNanOfBothWidths) {
  EXPECT_EQ(std::bit_cast<std::uint32_t>(failed_value()), 0x7fc00000u);
  EXPECT_EQ(to_bf16(failed_value()).bits, 0x7fc0u);
}

}  // namespace
}  // namespace tetrarch::base
