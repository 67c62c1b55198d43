// Each sequence is pooled to one row, and the pieces in which rows come do not matter.
// SPDX-License-Identifier: Apache-2.0
#include "engine/pooling.hpp"

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

namespace tetrarch::engine {
namespace {

using base::DType;
using plan::Pooling;

constexpr std::int64_t columns = 5;
const std::vector<std::int64_t> lengths{1, 128, 300, 5, 129, 127, 256};

/// Numbers of very different sizes, so that another order of additions gives other bits.
std::vector<float> rows_of(std::int64_t count) {
  std::vector<float> rows;
  std::uint32_t state = 12345;
  for (std::int64_t i = 0; i < count * columns; ++i) {
    state = state * 1664525u + 1013904223u;
    const float unit = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    rows.push_back(i % 3 == 0 ? 1000 * unit : unit);
  }
  return rows;
}

/// Pools sequences one after another, each in pieces of `piece` rows.
std::vector<float> pool(Pooling pooling, const std::vector<std::int64_t>& of,
                        std::vector<float> rows, std::int64_t piece) {
  Pooler pooler(pooling);
  std::vector<float> finished;
  float* at = rows.data();
  for (std::int64_t sequence = 0; sequence < std::ssize(of); ++sequence) {
    const std::int64_t length = of[static_cast<std::size_t>(sequence)];
    for (std::int64_t first = 0; first < length; first += piece) {
      const std::int64_t count = std::min(piece, length - first);
      const std::span<const float> pooled =
          pooler.add({sequence, first, count, length}, {at, DType::f32, 1, count, columns});
      EXPECT_EQ(pooled.empty(), first + count < length);
      finished.insert(finished.end(), pooled.begin(), pooled.end());
      at += count * columns;
    }
  }
  return finished;
}

std::int64_t total_of(const std::vector<std::int64_t>& of) {
  return std::accumulate(of.begin(), of.end(), std::int64_t{0});
}

TEST(Pooling, PiecesOfAnySizeGiveTheSameBits) {
  const std::vector<float> rows = rows_of(total_of(lengths));
  for (const Pooling pooling : {Pooling::mean, Pooling::last}) {
    const std::vector<float> whole = pool(pooling, lengths, rows, total_of(lengths));
    ASSERT_EQ(whole.size(), lengths.size() * columns);
    for (const std::int64_t piece : {1, 2, 3, 64, 127, 128, 129, 500})
      EXPECT_EQ(pool(pooling, lengths, rows, piece), whole) << piece;
  }
}

TEST(Pooling, ASequenceIsPooledAlikeInAnyCompany) {
  const std::vector<float> rows = rows_of(total_of(lengths));
  const std::vector<float> together = pool(Pooling::mean, lengths, rows, 64);
  // the third sequence alone: rows 129 .. 428
  const std::vector<float> own(rows.begin() + 129 * columns, rows.begin() + 429 * columns);

  const std::vector<float> alone = pool(Pooling::mean, {300}, own, 64);

  EXPECT_EQ(alone,
            std::vector<float>(together.begin() + 2 * columns, together.begin() + 3 * columns));
}

TEST(Pooling, TheMeanIsThatOfTheRows) {
  const std::vector<float> pooled =
      pool(Pooling::mean, {3, 2}, {1, 2, 3, 4, 5, 2, 4, 6, 8, 10, 6, 6, 6, 6, 6,  //
                                   0, 1, 0, 1, 0, 1, 1, 1, 1, 1},
           2);

  EXPECT_EQ(pooled, (std::vector<float>{3, 4, 5, 6, 7, 0.5f, 1, 0.5f, 1, 0.5f}));
}

TEST(Pooling, SumsGoBlockByBlock) {
  const std::vector<float> rows = rows_of(300);
  std::vector<float> by_block(columns, 0.0f), plain(columns, 0.0f);
  for (std::int64_t begin = 0; begin < 300; begin += Pooler::block_positions) {
    std::vector<float> block(columns, 0.0f);
    for (std::int64_t row = begin; row < std::min<std::int64_t>(300, begin + 128); ++row)
      for (std::size_t c = 0; c < columns; ++c)
        block[c] += rows[static_cast<std::size_t>(row * columns) + c];
    for (std::size_t c = 0; c < columns; ++c)
      by_block[c] += block[c];
  }
  for (std::size_t i = 0; i < rows.size(); ++i)
    plain[i % columns] += rows[i];
  for (float& sum : by_block)
    sum /= 300;
  for (float& sum : plain)
    sum /= 300;

  EXPECT_EQ(pool(Pooling::mean, {300}, rows, 300), by_block);
  EXPECT_NE(plain, by_block);  // shows that the blocks change the bits
}

TEST(Pooling, LastIsTheLastRowOfEach) {
  const std::vector<float> rows = rows_of(total_of(lengths));

  const std::vector<float> pooled = pool(Pooling::last, lengths, rows, 100);

  std::int64_t end = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    end += lengths[i];
    for (std::size_t c = 0; c < columns; ++c)
      EXPECT_EQ(pooled.at(i * columns + c),
                rows[static_cast<std::size_t>((end - 1) * columns) + c]);
  }
}

TEST(Pooling, Bf16RowsArePooledInF32) {
  std::vector<base::bf16> rows;
  for (int i = 0; i < 4 * columns; ++i)
    rows.push_back(base::to_bf16(static_cast<float>(i % columns) + (i < columns ? 0.5f : 1.0f)));
  Pooler pooler(Pooling::mean);

  const std::span<const float> pooled =
      pooler.add({0, 0, 4, 4}, {rows.data(), DType::bf16, 1, 4, columns});

  EXPECT_EQ(std::vector<float>(pooled.begin(), pooled.end()),
            (std::vector<float>{0.875f, 1.875f, 2.875f, 3.875f, 4.875f}));
}

TEST(Pooling, SequencesMayComeInTurns) {
  std::vector<float> a = rows_of(200), b = rows_of(150);
  std::ranges::reverse(b);
  Pooler pooler(Pooling::mean);
  const auto add = [&](std::int64_t sequence, std::vector<float>& rows, std::int64_t first,
                       std::int64_t count) {
    const std::span<const float> pooled =
        pooler.add({sequence, first, count, std::ssize(rows) / columns},
                   {rows.data() + first * columns, DType::f32, 1, count, columns});
    return std::vector<float>(pooled.begin(), pooled.end());
  };

  add(7, a, 0, 90);
  add(3, b, 0, 60);
  const std::vector<float> whole_a = add(7, a, 90, 110), whole_b = add(3, b, 60, 90);

  EXPECT_EQ(whole_a, pool(Pooling::mean, {200}, a, 200));
  EXPECT_EQ(whole_b, pool(Pooling::mean, {150}, b, 150));
}

}  // namespace
}  // namespace tetrarch::engine
