// Attention is compared with plain sums in f64. Its bits do not depend on how a sequence is cut
// into chunks and packed.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <gtest/gtest.h>
#include <omp.h>

#include "backend/arrays.hpp"
#include "backend/cpu/kernels/testing.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::DType;

struct Case {
  AttentionShape shape;
  std::int64_t tokens;
  Array query, key, value;
  Case(DType dtype, const AttentionShape& wanted, std::int64_t length, std::uint32_t seed = 1)
      : shape(wanted),
        tokens(length),
        query(Array::random(dtype, length, shape.num_heads * shape.head_size, seed, 3)),
        key(Array::random(dtype, length, shape.num_kv_heads * shape.head_size, seed + 1, 3)),
        value(Array::random(dtype, length, shape.num_kv_heads * shape.head_size, seed + 2)) {
    shape.scale = 1 / std::sqrt(static_cast<float>(shape.head_size));
  }
};

/// Attention of the whole sequence as one segment.
Array attend(CpuCompute& compute, const Case& c, std::int64_t slices = 1) {
  Array out(c.query.tensor().dtype, c.tokens, c.query.tensor().columns / slices, slices);
  const Segment whole{0, c.tokens, 0, 0};
  compute.attention(c.shape, c.query, c.key, c.value, {&whole, 1}, out);
  return out;
}

/// Attention in chunks of `size` queries. Each chunk is a call of its own, with the keys up to its
/// end.
Array attend_in_chunks(CpuCompute& compute, const Case& c, std::int64_t size) {
  Array out(c.query.tensor().dtype, c.tokens, c.query.tensor().columns);
  for (std::int64_t first = 0; first < c.tokens; first += size) {
    const std::int64_t count = std::min(size, c.tokens - first);
    const Segment chunk{0, count, first, 0};
    compute.attention(c.shape, c.query.tensor().row_range(first, count),
                      c.key.tensor().row_range(0, first + count),
                      c.value.tensor().row_range(0, first + count), {&chunk, 1},
                      out.tensor().row_range(first, count));
  }
  return out;
}

struct Expected {
  double value;
  double size;  // the same sum of absolute values; scales the error of rounded probabilities
};

Expected expected_at(const Case& c, std::int64_t row, std::int64_t head, std::int64_t dimension) {
  const std::int64_t d = c.shape.head_size;
  const std::int64_t kv = head * c.shape.num_kv_heads / c.shape.num_heads;
  const std::int64_t first =
      c.shape.window == 0 ? 0 : std::max<std::int64_t>(0, row - c.shape.window + 1);
  double total = 0, sum = 0, size = 0, max = -1e300;
  std::vector<double> score;
  for (std::int64_t j = first; j <= row; ++j) {
    double product = 0;
    for (std::int64_t i = 0; i < d; ++i)
      product += static_cast<double>(c.query.at(row, head * d + i)) * c.key.at(j, kv * d + i);
    score.push_back(product * c.shape.scale);
    max = std::max(max, score.back());
  }
  for (std::int64_t j = first; j <= row; ++j) {
    const double weight = std::exp(score[static_cast<std::size_t>(j - first)] - max);
    total += weight;
    sum += weight * c.value.at(j, kv * d + dimension);
    size += weight * std::abs(c.value.at(j, kv * d + dimension));
  }
  return {sum / total, size / total};
}

/// Compares with expected_at(). Kernels with bf16 products also round the probabilities, each once.
void expect_right(const Case& c, const Array& out) {
  const DType dtype = out.tensor().dtype;
  const bool rounds_probabilities =
      dtype == DType::bf16 && active_bf16_kernels() != Bf16Kernels::widened;
  const std::int64_t d = c.shape.head_size;
  for (std::int64_t row = 0; row < c.tokens; row += row < 3 ? 1 : 37)
    for (std::int64_t head = 0; head < c.shape.num_heads; ++head)
      for (std::int64_t i = 0; i < d; i += 3) {
        const Expected expected = expected_at(c, row, head, i);
        ASSERT_NEAR(out.at(row, head * d + i), expected.value,
                    std::abs(expected.value) * epsilon_of(dtype) + 2e-6 +
                        (rounds_probabilities ? expected.size * epsilon_of(dtype) : 0))
            << "row " << row << " head " << head << " dimension " << i;
      }
}

/// A family of kernels and the dtype that it computes.
struct Family {
  std::string name;
  DType dtype;
  Bf16Kernels kernels;
};

std::vector<Family> families() {
  std::vector<Family> there = {{"f32", DType::f32, Bf16Kernels::widened}};
  const Family of_bf16[] = {{"bf16", DType::bf16, Bf16Kernels::widened},
                            {"bf16_instructions", DType::bf16, Bf16Kernels::avx512_bf16},
                            {"amx", DType::bf16, Bf16Kernels::amx},
                            {"software_tiles", DType::bf16, Bf16Kernels::amx_software}};
  for (const Family& family : of_bf16)
    if (testing::has_bf16_kernels(family.kernels)) there.push_back(family);
  return there;
}

class Attention : public ::testing::TestWithParam<Family> {
 protected:
  void SetUp() override { testing::set_bf16_kernels(GetParam().kernels); }
  void TearDown() override {
    omp_set_num_threads(2);
    testing::set_attention_block_shift(0);
    testing::set_bf16_kernels({});
  }
  DType dtype() const { return GetParam().dtype; }
  CpuCompute compute_ = portable_compute();
};
INSTANTIATE_TEST_SUITE_P(Families, Attention, ::testing::ValuesIn(families()),
                         [](const auto& test) { return test.param.name; });

TEST_P(Attention, TheFirstTokenSeesItselfAlone) {
  const Case c(dtype(), {2, 1, 8}, 1);

  const Array out = attend(compute_, c);

  for (std::int64_t i = 0; i < 16; ++i)
    EXPECT_EQ(out[i], c.value[i % 8]);
}

TEST_P(Attention, IsRightForGroupsWindowsAndOddHeads) {
  for (const AttentionShape& shape :
       {AttentionShape{4, 4, 16}, AttentionShape{8, 2, 8}, AttentionShape{6, 2, 20},
        AttentionShape{32, 1, 24}, AttentionShape{2, 2, 128}, AttentionShape{2, 1, 33},
        AttentionShape{2, 1, 72}, AttentionShape{4, 2, 16, 1, 50}, AttentionShape{4, 2, 16, 1, 128},
        AttentionShape{2, 1, 16, 1, 1}})
    for (const std::int64_t tokens : {5, 128, 300}) {
      const Case c(dtype(), shape, tokens);

      expect_right(c, attend(compute_, c));
    }
}

TEST_P(Attention, SlicesHoldTheHeadsInOrder) {
  const Case c(dtype(), {8, 4, 8}, 40);
  const Array whole = attend(compute_, c);

  const Array sliced = attend(compute_, c, 4);

  for (std::int64_t slice = 0; slice < 4; ++slice)
    for (std::int64_t row = 0; row < 40; ++row)
      for (std::int64_t i = 0; i < 16; ++i)
        ASSERT_EQ(sliced[(slice * 40 + row) * 16 + i], whole.at(row, slice * 16 + i));
}

TEST_P(Attention, ChunksGiveTheBitsOfTheWhole) {
  for (const std::int64_t window : {0, 70, 200})
    for (const std::int64_t group : {1, 4}) {
      const Case c(dtype(), {4, 4 / group, 16, 1, window}, 400);
      const Array whole = attend(compute_, c);
      for (const std::int64_t size : {1, 7, 64, 333}) {
        const Array chunks = attend_in_chunks(compute_, c, size);

        EXPECT_EQ(num_differences(whole, chunks), 0) << "window " << window << " size " << size;
      }
    }
}

TEST_P(Attention, PackingAndThreadsKeepTheBits) {
  const Case a(dtype(), {4, 2, 16}, 150, 1), b(dtype(), {4, 2, 16}, 77, 9);
  const Array alone_a = attend(compute_, a), alone_b = attend(compute_, b);
  Array query(dtype(), 240, 64), key(dtype(), 240, 32), value(dtype(), 240, 32);
  const auto place = [](const Array& from, const Array& to, std::int64_t row) {
    std::memcpy(to.tensor().row_range(row, from.tensor().rows).data, from.data(),
                static_cast<std::size_t>(from.tensor().bytes()));
  };
  place(b.query, query, 0);
  place(a.query, query, 80);
  place(a.key, key, 3);
  place(b.key, key, 160);
  place(a.value, value, 3);
  place(b.value, value, 160);
  const std::vector<Segment> segments = {{80, 150, 0, 3}, {0, 0, 0, 0}, {0, 77, 0, 160}};
  for (const int threads : {1, 2, 3}) {
    omp_set_num_threads(threads);
    Array out(dtype(), 240, 64);

    compute_.attention(a.shape, query, key, value, segments, out);

    EXPECT_EQ(num_differences(out.tensor().row_range(80, 150), alone_a), 0);
    EXPECT_EQ(num_differences(out.tensor().row_range(0, 77), alone_b), 0);
  }
}

TEST_P(Attention, HeadsOfOneRankHaveTheBitsOfAll) {
  const Case all(dtype(), {8, 4, 8}, 200);
  const Array whole = attend(compute_, all);
  Case part(dtype(), {2, 1, 8}, 200);  // query heads 4 and 5, kv head 2
  for (std::int64_t row = 0; row < 200; ++row) {
    for (std::int64_t i = 0; i < 16; ++i)
      part.query.set(row * 16 + i, all.query.at(row, 32 + i));
    for (std::int64_t i = 0; i < 8; ++i)
      part.key.set(row * 8 + i, all.key.at(row, 16 + i));
    for (std::int64_t i = 0; i < 8; ++i)
      part.value.set(row * 8 + i, all.value.at(row, 16 + i));
  }

  const Array out = attend(compute_, part);

  for (std::int64_t row = 0; row < 200; ++row)
    for (std::int64_t i = 0; i < 16; ++i)
      ASSERT_EQ(out.at(row, i), whole.at(row, 32 + i));
}

TEST_P(Attention, ZeroValuesKeepTheirSignWhateverIsMasked) {
  Case c(dtype(), {1, 1, 8}, 40);
  for (std::int64_t i = 0; i < c.value.size(); ++i)
    c.value.set(i, i % 3 == 0 ? -0.0f : -1e-38f);
  const Array whole = attend(compute_, c);

  EXPECT_EQ(num_differences(whole, attend_in_chunks(compute_, c, 1)), 0);
}

TEST_P(Attention, ShiftedBlocksChangeBitsSoThatTheTestsAboveCanFail) {
  const Case c(dtype(), {4, 4, 16}, 400);
  const Array whole = attend(compute_, c);

  testing::set_attention_block_shift(64);
  const Array shifted = attend(compute_, c);

  if (dtype() == DType::f32) {  // rounding to bf16 hides almost all differences
    EXPECT_GT(num_differences(whole, shifted), 1000);
  }
  expect_right(c, shifted);
}

TEST_P(Attention, BadRowsHarmNoOtherSequence) {
  Case c(dtype(), {2, 2, 8}, 60);
  const Segment second{30, 30, 0, 30};
  Array clean(dtype(), 60, 16), harmed(dtype(), 60, 16);
  compute_.attention(c.shape, c.query, c.key, c.value, {&second, 1}, clean);
  for (std::int64_t i = 0; i < 30 * 16; ++i) {
    c.key.set(i, i % 2 == 0 ? not_a_number : infinity);
    c.value.set(i, not_a_number);
  }
  const std::vector<Segment> both = {{0, 30, 0, 0}, second};

  compute_.attention(c.shape, c.query, c.key, c.value, both, harmed);

  EXPECT_EQ(num_differences(clean.tensor().row_range(30, 30), harmed.tensor().row_range(30, 30)),
            0);
  for (std::int64_t i = 0; i < 30 * 16; ++i)
    ASSERT_TRUE(std::isnan(harmed[i]));
}

TEST_P(Attention, ABadKeyReachesTheRowsThatSeeItAlone) {
  for (const std::int64_t window : {0, 9}) {
    const Case clean(dtype(), {4, 2, 20, 1, window}, 150);
    Case c = clean;
    constexpr std::int64_t bad = 131, bad_key = 140;
    c.value.set(bad * 40 + 3, not_a_number);
    c.value.set(bad * 40 + 23, infinity);
    c.key.set(bad_key * 40, infinity);
    c.key.set(bad_key * 40 + 39, not_a_number);

    const Array expected = attend(compute_, clean), whole = attend(compute_, c);

    for (const std::int64_t size : {1, 5, 128})
      EXPECT_EQ(num_differences(attend_in_chunks(compute_, c, size), whole), 0) << size;
    for (std::int64_t row = 0; row < 150; ++row)
      for (std::int64_t column = 0; column < 80; ++column) {
        const auto sees = [&](std::int64_t key) {
          return row >= key && (window == 0 || row < key + window);
        };
        if (sees(bad) || sees(bad_key)) {
          ASSERT_TRUE(std::isnan(whole.at(row, column))) << row;
        } else {
          ASSERT_EQ(whole.at(row, column), expected.at(row, column)) << row;
        }
      }
  }
}

TEST_P(Attention, EveryInstructionSetIsRight) {
  const auto best = simd::active_isa();
  const Case c(dtype(), {4, 2, 20, 1, 150}, 290);
  for (const auto isa : {simd::Isa::any, simd::Isa::v3, simd::Isa::v4}) {
    if (isa > best) continue;
    testing::set_isa(isa);

    expect_right(c, attend(compute_, c));
  }
  testing::set_isa(best);
}

/// Attention of a sequence with a window, an odd number of heads, and keys that are not finite.
Array attend_a_difficult_one(CpuCompute& compute, std::int64_t head_size, std::int64_t window) {
  Case c(DType::bf16, {4, 2, head_size, 1, window}, 290);
  c.value.set(131 * 2 * head_size + 1, not_a_number);
  c.key.set(140 * 2 * head_size, infinity);
  c.query.set(17 * 4 * head_size, -infinity);
  for (std::int64_t i = 0; i < 40 * 2 * head_size; ++i)
    c.value.set(i, i % 3 == 0 ? -0.0f : 1e-38f);
  return attend(compute, c, 2);
}

/// Compares only instruction sets with fused multiply-adds; without them the softmax has other
/// bits.
TEST(AttentionByTiles, HasTheSameBitsOnEveryInstructionSetBesideTheTiles) {
  if (!testing::has_bf16_kernels(Bf16Kernels::amx_software))
    GTEST_SKIP() << "this CPU is not x86-64";
  CpuCompute compute = portable_compute();
  const auto best = simd::active_isa();
  for (const std::int64_t head_size : {8, 20, 33, 64})
    for (const std::int64_t window : {0, 70}) {
      testing::set_bf16_kernels(Bf16Kernels::amx_software);
      const Array expected = attend_a_difficult_one(compute, head_size, window);
      if (best == simd::Isa::v4) {
        testing::set_isa(simd::Isa::v3);
        EXPECT_EQ(num_differences(attend_a_difficult_one(compute, head_size, window), expected), 0)
            << "AVX2, heads of " << head_size << ", window " << window;
        testing::set_isa(best);
      }
      if (testing::has_bf16_kernels(Bf16Kernels::amx)) {
        testing::set_bf16_kernels(Bf16Kernels::amx);
        EXPECT_EQ(num_differences(attend_a_difficult_one(compute, head_size, window), expected), 0)
            << "tiles of the CPU, heads of " << head_size << ", window " << window;
      }
      testing::set_bf16_kernels({});
    }
}

TEST_P(Attention, NothingIsNoWork) {
  const Case c(dtype(), {2, 2, 8}, 0);

  EXPECT_EQ(attend(compute_, c).size(), 0);
}

}  // namespace
}  // namespace tetrarch::backend::cpu
