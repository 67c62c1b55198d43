// The content of gzip and zstd files, and refusals of damaged ones.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/packed_file.hpp"

#include <random>

#include <zlib.h>
#include <zstd.h>

#include "scratch.hpp"
#include "storage/inputs/jsonl_reader.hpp"

namespace tetrarch::storage {
namespace {

using namespace std::string_literals;
using base::ExitCode;
using test::is_refused;
using test::Scratch;
using test::write_file;

std::string gzip_of(const std::string& bytes) {
  constexpr int gzip_alone = 16, level = 6, memory = 8;
  z_stream stream = {};
  ::deflateInit2(&stream, level, Z_DEFLATED, gzip_alone + MAX_WBITS, memory, Z_DEFAULT_STRATEGY);
  std::string packed(::deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(packed.size() - stream.avail_out);
  ::deflateEnd(&stream);
  return packed;
}

/// A zstd frame of `bytes` with a checksum.
std::string zstd_of(const std::string& bytes) {
  ZSTD_CCtx* const context = ::ZSTD_createCCtx();
  ::ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  std::string packed(::ZSTD_compressBound(bytes.size()), '\0');
  packed.resize(
      ::ZSTD_compress2(context, packed.data(), packed.size(), bytes.data(), bytes.size()));
  ::ZSTD_freeCCtx(context);
  return packed;
}

std::string inside_of(const std::string& path, InputFormat format, std::size_t block = 1 << 16) {
  const auto file = open_packed(path, format);
  std::string all, piece(block, '\0');
  while (const std::size_t count = file->read(piece.data(), piece.size()))
    all.append(piece, 0, count);
  EXPECT_EQ(file->read(piece.data(), piece.size()), 0u);
  return all;
}

std::string some_text(std::size_t size) {
  std::mt19937 random(1);
  std::string text;
  while (text.size() < size)
    text += std::to_string(random() % 1000) + ", ";
  text.resize(size);
  return text;
}

struct Packer {
  const char* name;
  InputFormat format;
  std::string (*pack)(const std::string&);
};

class PackedFileTest : public testing::TestWithParam<Packer> {
 protected:
  static std::string pack(const std::string& bytes) { return GetParam().pack(bytes); }
  std::string inside(const std::string& packed, std::size_t block = 1 << 16) const {
    write_file(path_, packed);
    return inside_of(path_, GetParam().format, block);
  }
  testing::AssertionResult refused(const std::string& packed,
                                   const std::vector<std::string>& words) const {
    write_file(path_, packed);
    return is_refused(ExitCode::input, words, [&] { inside_of(path_, GetParam().format); });
  }

  const Scratch scratch_;
  const std::string path_ = scratch_ / "file";
};

TEST_P(PackedFileTest, GivesWhatWasPackedInPiecesOfAnySize) {
  const std::string text = some_text(700'000);
  const std::string packed = pack(text);

  for (const std::size_t block : {std::size_t{997}, std::size_t{1} << 16, std::size_t{1} << 21})
    EXPECT_EQ(inside(packed, block), text) << block;
  EXPECT_EQ(inside(pack("")), "");
}

TEST_P(PackedFileTest, PiecesMayFollowEachOther) {
  std::string packed, text;
  for (int i = 0; i < 300; ++i) {
    const std::string piece = some_text(static_cast<std::size_t>(i));
    text += piece;
    if (i % 100 == 0) packed += pack(piece);
    if (i % 100 != 0) text.resize(text.size() - piece.size());
  }
  EXPECT_EQ(inside(packed), text);
}

TEST_P(PackedFileTest, AFileThatEndsTooSoonIsRefusedWithTheByte) {
  const std::string packed = pack(some_text(5000));
  for (const std::size_t size : {packed.size() - 1, packed.size() / 2, std::size_t{5}})
    EXPECT_TRUE(refused(packed.substr(0, size),
                        {path_, "is truncated (it ends at byte " + std::to_string(size)}))
        << size;
  EXPECT_TRUE(refused(packed + packed.substr(0, packed.size() - 3), {"is truncated"}));
}

TEST_P(PackedFileTest, ADamagedByteIsFound) {
  const std::string packed = pack(some_text(5000));
  int num_found = 0;
  for (std::size_t at = 20; at < packed.size(); at += 37) {
    std::string damaged = packed;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    write_file(path_, damaged);
    num_found += static_cast<bool>(
        is_refused(ExitCode::input, {path_}, [&] { inside_of(path_, GetParam().format); }));
  }
  EXPECT_EQ(num_found, static_cast<int>((packed.size() - 20 + 36) / 37));
}

TEST_P(PackedFileTest, WhatIsInsideIsLookedAt) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "is empty (0 bytes)"},
      {"PAR1", "is Parquet"},
      {"\x89HDF\r\n\x1a\n", "is HDF5"},
      {pack("x"), std::string("is ") + GetParam().name},
      {std::string(257, 'a') + "ustar", "is a tar archive"},
      {"prose\n", "is plain text"}};
  for (const auto& [bytes, words] : cases) {
    write_file(path_, pack(bytes));
    EXPECT_TRUE(
        is_refused(ExitCode::input,
                   {path_, std::string("is ") + GetParam().name + ", and its content " + words},
                   [&] { JsonlReader(path_, GetParam().format); }));
  }
}

TEST_P(PackedFileTest, TheLongestLineIsMeasuredUnpacked) {
  write_file(path_, pack("{\"id\": 1, \"tokens\": [1]}\n{\"x\": \"" + std::string(1 << 20, 'x') +
                         "\"}\n{\"id\": 3, \"tokens\": [1]}\n"));
  JsonlReader reader(path_, GetParam().format, {.block_bytes = 4096, .line_bytes = 1000});
  std::vector<std::string> problems;
  JsonlRecord record;
  for (JsonlLine each; reader.next(record, each);)
    problems.push_back(record.problem);

  ASSERT_EQ(problems.size(), 3u);
  EXPECT_EQ(problems[0] + problems[2], "");
  EXPECT_NE(problems[1].find("is longer"), std::string::npos);
  EXPECT_EQ(reader.unpacked().bytes, 25u + (1 << 20) + 10 + 25);
}

INSTANTIATE_TEST_SUITE_P(Both, PackedFileTest,
                         testing::Values(Packer{"gzip", InputFormat::gzip, gzip_of},
                                         Packer{"zstd", InputFormat::zstd, zstd_of}),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(GzipFile, ZerosMayFollowAndNothingElse) {
  const Scratch scratch;
  const std::string path = scratch / "a.gz", packed = gzip_of("abc");
  write_file(path, packed + std::string(700, '\0'));
  EXPECT_EQ(inside_of(path, InputFormat::gzip), "abc");
  for (const std::string& rest : {"x"s, "\0\0x"s, "\n"s, std::string(600, '\0') + packed}) {
    write_file(path, packed + rest);
    EXPECT_TRUE(is_refused(ExitCode::input, {path, "after its 1 gzip member, it has bytes"},
                           [&] { inside_of(path, InputFormat::gzip); }));
  }
}

TEST(ZstdFile, SkippableFramesHoldNothingAndOtherBytesAreRefused) {
  const Scratch scratch;
  const std::string path = scratch / "a.zst", packed = zstd_of("abc");
  const std::string skipped = "\x53\x2a\x4d\x18\x03\0\0\0xyz"s;
  write_file(path, skipped + packed + skipped + packed + skipped);
  EXPECT_EQ(inside_of(path, InputFormat::zstd), "abcabc");
  for (const std::string& rest : {"some garbage"s, std::string(600, '\0')}) {
    write_file(path, packed + rest);
    EXPECT_TRUE(is_refused(ExitCode::input, {path, "is damaged near byte", "no zstd frame"},
                           [&] { inside_of(path, InputFormat::zstd); }));
  }
}

TEST(ZstdFile, AWindowOf128MiBIsReadAndALargerOneIsRefused) {
  const Scratch scratch;
  const std::string path = scratch / "a.zst";
  // a frame: magic, descriptor 0 (no size, no checksum), byte n for a window of 2^(10 + n / 8),
  // then one block, which is the last one, raw, of 1 byte
  const auto frame = [](int exponent) {
    return "\x28\xb5\x2f\xfd\0"s + static_cast<char>((exponent - 10) << 3) + "\x09\0\0a"s;
  };
  write_file(path, frame(27));
  EXPECT_EQ(inside_of(path, InputFormat::zstd), "a");
  write_file(path, frame(28));
  EXPECT_TRUE(is_refused(ExitCode::input, {path, "larger than 128 MiB", "zstd -d --long=31"},
                         [&] { inside_of(path, InputFormat::zstd); }));
}

}  // namespace
}  // namespace tetrarch::storage
