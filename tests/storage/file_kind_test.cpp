// Kinds of files, told by their first bytes.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/file_kind.hpp"

#include <sys/stat.h>

#include "import/safetensors.hpp"
#include "scratch.hpp"

namespace tetrarch::storage {
namespace {

using namespace std::string_literals;
using base::ExitCode;
using test::is_refused;
using test::Scratch;
using test::write_file;

const std::string line = "{\"id\": 1, \"tokens\": [1]}\n";
const std::string signature = "\x89HDF\r\n\x1a\n";

FileKind kind_of(const std::string& bytes, const std::string& name = "a.dat") {
  return kind_of_bytes(bytes, bytes.size() < kind_head_bytes, name);
}

TEST(FileKind, WhatIsReadIsKnownByItsBytesWhateverItsName) {
  for (const char* name : {"a.h5", "a.jsonl", "a.parquet", "a"}) {
    EXPECT_EQ(kind_of(signature, name).format, InputFormat::hdf5) << name;
    EXPECT_EQ(kind_of("\x1f\x8b\x08", name).format, InputFormat::gzip) << name;
    EXPECT_EQ(kind_of("\x28\xb5\x2f\xfd", name).format, InputFormat::zstd) << name;
    EXPECT_EQ(kind_of("\x5a\x2a\x4d\x18\0\0"s, name).format, InputFormat::zstd) << name;
    for (const char* before : {"", "\xef\xbb\xbf", " \t\r\n\n", "\xef\xbb\xbf\r\n "})
      EXPECT_EQ(kind_of(std::string(before) + line, name).format, InputFormat::lines)
          << name << before;
  }
}

TEST(FileKind, EveryOtherKindHasItsOwnWords) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "empty (0 bytes)"},
      {" \r\n\t\n", "empty (it has only white space"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"},
      {"PAR1" + std::string(30, '\0') + "PAR1", "Parquet"},
      {"ARROW1\0\0"s, "Arrow"},
      {"\xff\xff\xff\xff\x10\0\0\0"s, "an Arrow stream"},
      {"\x93NUMPY\1\0"s, "a NumPy array"},
      {"\xfd"
       "7zXZ\0\0"s,
       "xz"},
      {"BZh91AY&SY", "bzip2"},
      {"PK\x03\x04\x14", "a zip archive"},
      {"\x04\x22\x4d\x18\x40", "lz4"},
      {"\x80\x04\x95", "a Python pickle"},
      {"SQLite format 3\0"s, "an SQLite database"},
      {"ORC\x0a\x03\x01", "ORC"},
      {"Obj\x01\x04", "Avro"},
      {"<!DOCTYPE html><html>", "an HTML page"},
      {"%PDF-1.7\n", "a PDF document"},
      {"GGUF\3\0\0\0"s, "a GGUF model"},
      {"\x40\0\0\0\0\0\0\0{\"a\":{\"dtype\""s, "safetensors"},
      {"a.txt" + std::string(252, '\0') + "ustar  \0"s, "a tar archive"},
      {"\xff\xfe{\0\"\0"s, "UTF-16 text"},
      {"\xfe\xff\0{\0\""s, "UTF-16 text"},
      {"{\0\"\0i\0"s, "UTF-16 text"},
      {"\0{\0\"\0i"s, "UTF-16 text"},
      {"\xff\xfe\0\0{\0\0\0"s, "UTF-32 text"},
      {"[{\"id\": 1, \"tokens\": [1]}]", "a JSON array"},
      {"\xef\xbb\xbf [\n  {\"id\": 1},\n  {\"id\": 2}\n]\n", "a JSON array"},
      {"[{\"id\": 1},\n{\"id\": 2}]\n", "a JSON array"},
      {"{\n  \"id\": 1,\n  \"tokens\": [1]\n}\n", "one JSON document over many lines"},
      {std::string(5000, '\0'), "made of zero bytes"},
      {"Some prose.\n", "plain text"},
      {"id,tokens\n1,5 6 7\n", "plain text"},
      {"\x01\x02\x03\x04", "of an unknown kind (it begins with 01 02 03 04)"}};

  for (const auto& [bytes, words] : cases) {
    const FileKind kind = kind_of(bytes);

    EXPECT_EQ(kind.format, InputFormat::other) << words;
    EXPECT_TRUE(kind.what.starts_with(words)) << kind.what << "\nexpected " << words;
    EXPECT_TRUE(kind.advice.ends_with('.')) << words;
  }
  EXPECT_NE(kind_of("\x01", "a.h5").what.find("no HDF5, or damaged"), std::string::npos);
}

TEST(FileKind, TextThatIsNamedAsLinesIsLeftToTheirReader) {
  EXPECT_EQ(kind_of("no JSON\n" + line, "a.jsonl").format, InputFormat::lines);
  EXPECT_EQ(kind_of("[1, 2]\n" + line, "a.JSON.gz").format, InputFormat::lines);
  EXPECT_EQ(kind_of("{\n" + line, "a.jsonl").format, InputFormat::lines);
  EXPECT_EQ(kind_of("no JSON\n" + line, "jsonl").format, InputFormat::other);
}

TEST(FileKind, Hdf5IsFoundBehindAUserBlock) {
  const Scratch scratch;
  for (const std::size_t block : {512, 1024, 65536}) {
    const std::string path = scratch / "a.jsonl";
    test::python(scratch, path,
                 "with h5py.File(path, 'w', userblock_size=" + std::to_string(block) +
                     ") as f:\n  f['a'] = 1\n");
    EXPECT_EQ(file_kind(path).format, InputFormat::hdf5) << block;
    EXPECT_TRUE(is_hdf5(path));
  }
  write_file(scratch / "b", std::string(700, 'x') + signature);
  EXPECT_FALSE(is_hdf5(scratch / "b"));
}

TEST(FileKind, WhatCannotBeReadIsRefused) {
  const Scratch scratch;
  ::mkfifo((scratch / "pipe").c_str(), 0600);
  EXPECT_TRUE(is_refused(ExitCode::input, {scratch / "absent", "No such file"},
                         [&] { file_kind(scratch / "absent"); }));
  EXPECT_TRUE(is_refused(ExitCode::weights, {scratch / "pipe", "is no regular file"},
                         [&] { file_kind(scratch / "pipe", ExitCode::weights); }));
  EXPECT_FALSE(is_hdf5(scratch / "absent"));
  EXPECT_FALSE(holds_lines(scratch / "absent"));
}

struct Kind {
  std::string bytes;
  const char *what, *advice;
};
const std::vector<Kind> kinds = {
    {"version https://git-lfs.github.com/spec/v1\n"s, "Git LFS pointer (43 bytes)", "git lfs pull"},
    {"\x1f\x8b\x08\0\0\0\0\0\2\3"s, "gzip", "gunzip"},
    {"\x28\xb5\x2f\xfd\4\0"s, "zstd", "unzstd"},
    {"\xfd"
     "7zXZ\0\0\0"s,
     "xz", "unxz"},
    {"BZh91AY&SY"s, "bzip2", "bunzip2"},
    {"PK\3\4\0\0\0\0\0\0"s, "PyTorch", "save_pretrained"},
    {"\x80\2}q\1(X"s, "pickle", "save_pretrained"},
    {"\x89HDF\r\n\x1a\n"s, "HDF5", "Hugging Face"},
    {"GGUF\3\0\0\0"s, "llama.cpp", "safetensors"},
    {"<!DOCTYPE html>"s, "error message of a server", "Download"}};

TEST(ForeignKind, KnowsWhatUsersMixUpWithCheckpoints) {
  for (const auto& [bytes, what, advice] : kinds) {
    const auto kind = foreign_kind(bytes, static_cast<std::int64_t>(bytes.size()));

    ASSERT_TRUE(kind) << what;
    EXPECT_NE(kind->what.find(what), std::string::npos) << kind->what;
    EXPECT_NE(kind->advice.find(advice), std::string::npos) << kind->advice;
  }
  EXPECT_FALSE(foreign_kind("", 0));
  EXPECT_FALSE(foreign_kind("{\"a\": 1}", 8));
}

TEST(ForeignKind, ASafetensorsFileOfThatKindIsRefusedByIt) {
  const test::Scratch scratch;
  const std::string path = scratch / "m.safetensors";
  for (const auto& [bytes, what, advice] : kinds) {
    // a file so large that the signature, read as the header's length, may fit it
    test::write_file(path, bytes + std::string(2'000'000, '\1'));

    EXPECT_TRUE(test::is_refused(base::ExitCode::weights, {path, advice}, [&] {
      hf::SafetensorsFile file(path);
    })) << what;
  }
}

TEST(ForeignKind, TheLengthOfAHeaderMayLookLikeAnything) {
  const test::Scratch scratch;
  const std::string path = scratch / "m.safetensors";
  const std::string length = "BZh\0\0\0\0\0"s;  // as a length: 0x685a42
  std::string header = "{}";
  header.resize(0x685a42, ' ');
  test::write_file(path, length + header);

  EXPECT_TRUE(hf::SafetensorsFile(path).tensors().empty());
  EXPECT_EQ(first_bytes_of(path).size(), first_bytes);
  EXPECT_EQ(first_bytes_of(scratch.folder()), "");
  EXPECT_EQ(first_bytes_of(scratch / "absent"), "");
}

}  // namespace
}  // namespace tetrarch::storage
