// Compressed inputs are read from their unpacked copies.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/spool.hpp"

#include <algorithm>

#include "inputs_copy.hpp"
#include "scratch.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using test::is_refused;
using test::Scratch;
using test::write_file;

class SpoolTest : public testing::Test {
 protected:
  std::string pack(const std::string& name, const std::string& text) const {
    write_file(scratch_ / "plain", text);
    const std::string to = scratch_ / name;
    EXPECT_EQ(std::system(("gzip -c " + (scratch_ / "plain") + " > " + to).c_str()), 0);
    return to;
  }
  static std::vector<std::uint32_t> tokens_of(const InputSet& inputs, std::int64_t sequence) {
    std::vector<std::uint32_t> tokens(static_cast<std::size_t>(inputs.length(sequence)));
    inputs.read_tokens(sequence, 0, inputs.length(sequence), tokens.data());
    return tokens;
  }

  const Scratch scratch_;
  base::Log log_{base::Log::Sink::none};
};

const std::string lines =
    "{\"id\": 5, \"tokens\": [1, 2]}\n{\"tokens\": [3]}\n{\"id\": 6, \"input_ids\": [4, 5, 6]}\n";

TEST_F(SpoolTest, LabelsNeedNoSpoolAndTokensComeFromIt) {
  write_file(scratch_ / "b.jsonl", "{\"id\": 9, \"tokens\": [8]}\n");
  const InputSet opened = InputSet::open({pack("a.jsonl.gz", lines), scratch_ / "b.jsonl"}, 50, 8);
  InputSet inputs = copy_of(opened);
  EXPECT_EQ(inputs.unpacked_bytes(), static_cast<std::int64_t>(lines.size()));
  EXPECT_EQ(inputs.id(1), "a.jsonl.gz:2");
  {
    const Spool spool(inputs, scratch_.folder(), log_);
    inputs.read_packed_from(spool_folder(scratch_.folder()));
    EXPECT_EQ(tokens_of(inputs, 2), (std::vector<std::uint32_t>{4, 5, 6}));
    EXPECT_EQ(tokens_of(inputs, 3), (std::vector<std::uint32_t>{8}));
    EXPECT_EQ(tokens_of(inputs, 1), (std::vector<std::uint32_t>{3}));
  }
  EXPECT_FALSE(std::filesystem::exists(spool_folder(scratch_.folder())));
}

TEST_F(SpoolTest, FilesOfEveryWriterHoldTheSame) {
  const std::string folder = scratch_ / "written";
  test::unpack(TETRARCH_TEST_DATA "/inputs/jsonl.tar.gz", folder);
  InputSet plain = InputSet::open({folder + "/plain.jsonl"}, 256, 64);
  ASSERT_EQ(plain.count(), 3);
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string path = entry.path();
    if (path.find(".jsonl") == std::string::npos) continue;
    ++num_files;
    InputSet inputs = InputSet::open({path}, 256, 64, plan::Tokenizer::bytes);
    const Spool spool(inputs, scratch_.folder(), log_);
    inputs.read_packed_from(spool_folder(scratch_.folder()));

    EXPECT_EQ(inputs.packed().size(), path.ends_with(".jsonl") ? 0u : 1u) << path;
    ASSERT_EQ(inputs.count(), 3) << path;
    EXPECT_TRUE(inputs.errors().empty()) << path;
    EXPECT_EQ(inputs.notes().empty(), path.find("datasets") == std::string::npos) << path;
    for (std::int64_t i = 0; i < 3; ++i) {
      EXPECT_EQ(tokens_of(inputs, i), tokens_of(plain, i)) << path;
      if (inputs.notes().empty()) {
        EXPECT_EQ(inputs.id(i), plain.id(i)) << path;
      }
    }
  }
  EXPECT_EQ(num_files, 9);
}

TEST_F(SpoolTest, CompressionDoesNotChangeTheIdentity) {
  const std::string plain = "{\"id\": 5, \"tokens\": [1, 2]}\n";
  write_file(scratch_ / "a.jsonl", plain);

  EXPECT_EQ(InputSet::open({pack("a.jsonl.gz", plain)}, 50, 8).identity(),
            InputSet::open({scratch_ / "a.jsonl"}, 50, 8).identity());
}

TEST_F(SpoolTest, AFileThatChangedMeanwhileIsRefusedAndNothingStays) {
  const std::string path = pack("a.jsonl.gz", lines);
  const InputSet inputs = InputSet::open({path}, 50, 8);
  std::string other = lines;
  other[other.find('2')] = '3';

  for (const std::string& now : {other, lines + " ", lines.substr(0, 40)}) {
    pack("a.jsonl.gz", now);
    EXPECT_TRUE(is_refused(ExitCode::input, {path, "has changed since the run began"},
                           [&] { Spool(inputs, scratch_.folder(), log_); }));
    EXPECT_FALSE(std::filesystem::exists(spool_folder(scratch_.folder())));
  }
}

TEST_F(SpoolTest, WhatDoesNotFitOnTheDiskIsRefusedBeforeItIsWritten) {
  // a set whose head says that the file unpacks to 1 EiB
  const InputSet small = InputSet::open({pack("a.jsonl.gz", lines)}, 50, 8);
  std::vector<std::byte> bytes = small.head();
  const auto size = static_cast<std::uint64_t>(lines.size());
  const auto* begin = reinterpret_cast<const std::byte*>(&size);
  const auto found = std::search(bytes.begin(), bytes.end(), begin, begin + sizeof size);
  ASSERT_NE(found, bytes.end());
  const std::uint64_t huge = std::uint64_t{1} << 60;
  std::copy_n(reinterpret_cast<const std::byte*>(&huge), sizeof huge, found);
  const InputSet inputs = InputSet::from_head(bytes);

  try {
    Spool(inputs, scratch_.folder(), log_);
    FAIL() << "nothing was refused";
  } catch (const base::SystemError& error) {
    EXPECT_EQ(error.code(), ExitCode::resources);
    EXPECT_NE(std::string(error.what()).find("too little space to unpack"), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(spool_folder(scratch_.folder())));
}

}  // namespace
}  // namespace tetrarch::storage
