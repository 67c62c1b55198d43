// Lines of a JSONL file are read in order and again by their place; files of other kinds are
// refused.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/jsonl_reader.hpp"

#include <map>

#include <sys/stat.h>

#include "scratch.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;
using test::is_refused;
using test::Scratch;
using test::write_file;

struct Found {
  std::vector<JsonlRecord> records;
  std::vector<JsonlLine> lines;
};

Found all_of(const std::string& path) {
  JsonlReader reader(path);
  Found found;
  JsonlRecord record;
  JsonlLine line;
  while (reader.next(record, line)) {
    found.records.push_back(record);
    found.lines.push_back(line);
  }
  return found;
}

std::string record_of(int id, int num_tokens) {
  std::string text = "{\"id\": " + std::to_string(id) + ", \"tokens\": [";
  for (int i = 0; i < num_tokens; ++i)
    text += (i > 0 ? ", " : "") + std::to_string(i % 1000);
  return text + "]}";
}

std::uint64_t id_of(const JsonlRecord& record) {
  const auto* number = std::get_if<std::uint64_t>(&record.id);
  return number ? *number : 999;
}

TEST(JsonlReader, LinesHaveTheirPlaces) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl", text = record_of(1, 2) + "\n" + record_of(2, 3);
  write_file(path, text + "\n");

  const Found found = all_of(path);

  ASSERT_EQ(found.lines.size(), 2u);
  EXPECT_EQ(found.lines[0].begin, 0u);
  EXPECT_EQ(found.lines[1].number, 2u);
  EXPECT_EQ(text.substr(found.lines[1].begin, found.lines[1].bytes), record_of(2, 3));
  EXPECT_EQ(found.records[1].tokens.size(), 3u);
}

TEST(JsonlReader, EmptyLinesByteOrderMarkAndCarriageReturnsDoNotMatter) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl";
  write_file(path, "\xef\xbb\xbf" + record_of(1, 2) + "\r\n\r\n  \t \n\n\t" + record_of(2, 1) +
                       "  \r\n\n" + record_of(3, 0));

  const Found found = all_of(path);

  ASSERT_EQ(found.records.size(), 3u);
  for (const JsonlRecord& record : found.records)
    EXPECT_EQ(record.problem, "");
  EXPECT_EQ(found.lines[0].begin, 3u);
  EXPECT_EQ(found.lines[0].bytes, record_of(1, 2).size());
  EXPECT_EQ(found.lines[1].number, 5u);
  EXPECT_EQ(found.lines[1].bytes, record_of(2, 1).size());
  EXPECT_EQ(found.lines[2].number, 7u);
}

TEST(JsonlReader, FilesPutTogetherMayEachHaveAByteOrderMark) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl", mark = "\xef\xbb\xbf";
  write_file(path, mark + record_of(1, 1) + "\n" + mark + record_of(2, 1));

  const Found found = all_of(path);

  ASSERT_EQ(found.records.size(), 2u);
  EXPECT_EQ(found.records[1].problem, "");
  EXPECT_EQ(found.lines[1].bytes, record_of(2, 1).size());
}

TEST(JsonlReader, FilesWithoutLinesHaveNoRecords) {
  const Scratch scratch;
  for (const std::string text : {"", "\n", " \r\n\n", "\xef\xbb\xbf"}) {
    write_file(scratch / "a.jsonl", text);
    EXPECT_EQ(all_of(scratch / "a.jsonl").records.size(), 0u);
  }
}

TEST(JsonlReader, LinesThatMeetTheEndOfABlockAreWhole) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl";
  const std::size_t block = 1 << 20;
  std::string text;
  // line ends fall on every byte around the end of the first block
  const std::string first = record_of(1, 0), second = record_of(2, 4);
  for (std::size_t end = block - 3; end <= block + 3; ++end) {
    text = first.substr(0, first.size() - 1) + std::string(end - first.size(), ' ') + "}\n" +
           second + "\n" + record_of(3, 5);
    write_file(path, text);

    const Found found = all_of(path);

    ASSERT_EQ(found.records.size(), 3u) << end;
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(found.records[i].problem, "") << end;
      EXPECT_EQ(id_of(found.records[i]), static_cast<std::uint64_t>(i + 1)) << end;
    }
    EXPECT_EQ(found.lines[0].bytes, end);
    EXPECT_EQ(found.lines[2].begin, end + 1 + second.size() + 1);
  }
}

TEST(JsonlReader, ALineOfTenMegabytesIsRead) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl", line = record_of(1, 2'200'000);
  ASSERT_GT(line.size(), 10u << 20);
  write_file(path, record_of(0, 1) + "\n" + line + "\n" + record_of(2, 1));

  const Found found = all_of(path);

  ASSERT_EQ(found.records.size(), 3u);
  EXPECT_EQ(found.records[1].problem, "");
  EXPECT_EQ(found.records[1].tokens.size(), 2'200'000u);
  EXPECT_EQ(found.records[1].tokens.back(), 999u);
  EXPECT_EQ(id_of(found.records[2]), 2u);
}

TEST(JsonlReader, ALineBeyondTheLimitIsABadRecordAndTheNextOnesAreRead) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl", begin = "{\"id\": 5, \"tokens\": [1], \"x\": \"";
  const auto line_of = [&](std::size_t bytes) {
    return begin + std::string(bytes - begin.size() - 2, 'x') + "\"}";
  };
  const std::size_t limit = JsonlLimits().line_bytes;
  for (const std::size_t bytes : {limit, limit + 1, limit + (5 << 20)}) {
    write_file(path, line_of(bytes) + "\n" + record_of(6, 2));

    const Found found = all_of(path);

    ASSERT_EQ(found.records.size(), 2u) << bytes;
    EXPECT_EQ(found.records[0].problem,
              bytes == limit ? "" : "the line is longer than 64 MiB, and is not read");
    EXPECT_EQ(found.records[1].problem, "") << bytes;
    EXPECT_EQ(found.lines[1].begin, bytes + 1);
    EXPECT_EQ(found.lines[1].number, 2u);
  }
}

TEST(JsonlReader, ALineIsReadAgainByItsPlace) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl";
  write_file(path, record_of(1, 2) + "\r\n\n" + record_of(2, 3) + "\n" + record_of(3, 4));
  const Found found = all_of(path);
  JsonlReader reader(path);
  JsonlRecord record;

  for (const std::size_t i : {2u, 0u, 1u}) {
    EXPECT_TRUE(reader.read(found.lines[i], record));
    EXPECT_EQ(id_of(record), i + 1);
    EXPECT_EQ(record.tokens, found.records[i].tokens);
  }
  std::filesystem::resize_file(path, found.lines[2].begin + 5);
  EXPECT_FALSE(reader.read(found.lines[2], record));
  EXPECT_TRUE(reader.read(found.lines[1], record));
}

TEST(JsonlReader, ABadLineAmongGoodOnesIsARecordWithAProblem) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl";
  write_file(path, "garbage\n" + record_of(1, 1) + "\n{\"id\": 2, \"tok");

  const Found found = all_of(path);

  ASSERT_EQ(found.records.size(), 3u);
  EXPECT_NE(found.records[0].problem, "");
  EXPECT_EQ(found.records[1].problem, "");
  EXPECT_EQ(id_of(found.records[2]), 2u);
  EXPECT_NE(found.records[2].problem, "");
}

TEST(JsonlReader, WhatIsSomethingElseIsRefused) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl";
  const auto refused_with = [&](const std::vector<std::string>& words) {
    return is_refused(ExitCode::input, words, [&] { all_of(path); });
  };
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"Some prose.\nTwo lines.\n", {path, "none of its first 2 lines", "line 1: not JSON"}},
      {"[\n  {\"id\": 1,\n   \"tokens\": [1]}\n]\n", {path, "is not JSON lines"}},
      {"[{\"id\": 1, \"tokens\": [1]}]", {path, "line 1: not an object"}},
      {"\xff\xfe{\0\"\0", {path, "is not JSON lines"}},
      {std::string(1 << 16, '\0'), {path, "is not JSON lines"}}};

  for (const auto& [text, words] : cases) {
    write_file(path, text);
    EXPECT_TRUE(refused_with(words)) << text.substr(0, 40);
  }
  std::string many;
  for (int i = 0; i < 1000; ++i)
    many += "prose\n";
  write_file(path, many + record_of(1, 1));
  EXPECT_TRUE(refused_with({"none of its first 1000 lines"}));
}

TEST(JsonlReader, WhatCannotBeReadIsRefused) {
  const Scratch scratch;
  std::filesystem::create_directory(scratch / "folder.jsonl");
  ::mkfifo((scratch / "pipe.jsonl").c_str(), 0600);
  const std::map<std::string, std::string> cases = {{"absent.jsonl", "No such file"},
                                                    {"folder.jsonl", "is no regular file"},
                                                    {"pipe.jsonl", "is no regular file"}};
  for (const auto& [name, word] : cases)
    EXPECT_TRUE(
        is_refused(ExitCode::input, {scratch / name, word}, [&] { JsonlReader(scratch / name); }));
}

}  // namespace
}  // namespace tetrarch::storage
