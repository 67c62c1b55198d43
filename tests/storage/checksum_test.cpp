// SPDX-License-Identifier: Apache-2.0
#include "storage/files/checksum.hpp"

#include <numeric>

#include <gtest/gtest.h>

namespace tetrarch::storage {
namespace {

std::vector<std::byte> counted_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i)
    bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  return bytes;
}

TEST(Checksum, IsXxh3ByItsPublishedValues) {
  EXPECT_EQ(hex_text(xxh3({})), "2d06800538d394c2");

  EXPECT_EQ(hex_text(0x1f), "000000000000001f");
}

TEST(Checksum, OfAStreamIsThatOfItsBytes) {
  const auto bytes = counted_bytes(100'003);
  Xxh3 stream;

  for (std::size_t at = 0; at < bytes.size(); at += 777)
    stream.update(std::span(bytes).subspan(at, std::min<std::size_t>(777, bytes.size() - at)));

  EXPECT_EQ(stream.digest(), xxh3(bytes));
  stream.reset();
  EXPECT_EQ(stream.digest(), xxh3({}));
}

TEST(Checksum, BlocksBeginAnewEvery4MiBHoweverTheBytesCome) {
  const auto block = static_cast<std::size_t>(checksum_block_bytes);
  const auto bytes = counted_bytes(2 * block + 5);
  const std::span all(bytes);
  BlockSums whole, pieces;

  whole.update(all);
  for (std::size_t at = 0; at < bytes.size(); at += 1'000'000)
    pieces.update(all.subspan(at, std::min<std::size_t>(1'000'000, bytes.size() - at)));

  const std::vector<std::uint64_t> expected{xxh3(all.first(block)), xxh3(all.subspan(block, block)),
                                            xxh3(all.subspan(2 * block))};
  EXPECT_EQ(whole.finish(), expected);
  EXPECT_EQ(pieces.finish(), expected);
}

TEST(Checksum, AUnitOfWholeBlocksHasNoEmptyBlockAtItsEnd) {
  const auto bytes = counted_bytes(static_cast<std::size_t>(checksum_block_bytes));
  BlockSums sums;

  sums.update(bytes);

  EXPECT_EQ(sums.finish(), std::vector<std::uint64_t>{xxh3(bytes)});
  EXPECT_TRUE(sums.finish().empty());
}

}  // namespace
}  // namespace tetrarch::storage
