// The operations of AMX tiles other than multiplication have the same results as those of software
// tiles.
// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/kernels/amx_tiles.hpp"

#include <bit>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "backend/cpu/kernels/soft_tiles.hpp"
#include "backend/cpu/kernels/testing.hpp"

namespace tetrarch::backend::cpu {
namespace {

constexpr int lanes = simd::lanes;

#define TETRARCH_AVX512_BF16 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")))

TETRARCH_AVX512_BF16 void pair_by_cpu(const float* even, const float* odd, std::uint32_t* to) {
  AmxTiles::pair(simd::load<16>(even), simd::load<16>(odd), to);
}
TETRARCH_AVX512_BF16 void turn_by_cpu(const std::uint32_t* from, std::uint32_t* to) {
  AmxTiles::turn(from, 20, to, 24);
}
void pair_by_software(const float* even, const float* odd, std::uint32_t* to) {
  SoftTiles<4>::pair(simd::load<4>(even), simd::load<4>(odd), to);
}

class AmxTilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::has_bf16_kernels(Bf16Kernels::avx512_bf16))
      GTEST_SKIP() << "this CPU has no AVX512-BF16";
  }
  std::mt19937 random_{1};
};

TEST_F(AmxTilesTest, PairsOfFloatsAreRoundedAsBySoftware) {
  for (int round = 0; round < 100'000; ++round) {
    float even[lanes], odd[lanes];
    for (int i = 0; i < lanes; ++i) {
      const auto bits = static_cast<std::uint32_t>(random_());
      even[i] = std::bit_cast<float>(bits);
      odd[i] = std::bit_cast<float>(static_cast<std::uint32_t>(random_()) &
                                    0x80ffffffu);  // many are denormal
    }
    std::uint32_t by_cpu[lanes], by_software[lanes];

    pair_by_cpu(even, odd, by_cpu);
    pair_by_software(even, odd, by_software);

    for (int i = 0; i < lanes; ++i)
      ASSERT_EQ(by_cpu[i], by_software[i]) << even[i] << " " << odd[i];
  }
}

TEST_F(AmxTilesTest, TurningSwapsRowsAndColumns) {
  std::vector<std::uint32_t> from(16 * 20), to(16 * 24);
  for (std::size_t i = 0; i < from.size(); ++i)
    from[i] = static_cast<std::uint32_t>(i);

  turn_by_cpu(from.data(), to.data());

  for (std::size_t r = 0; r < lanes; ++r)
    for (std::size_t c = 0; c < lanes; ++c)
      EXPECT_EQ(to[c * 24 + r], from[r * 20 + c]) << r << " " << c;
}

}  // namespace
}  // namespace tetrarch::backend::cpu
