// SPDX-License-Identifier: Apache-2.0
#include "storage/files/foreign_kind.hpp"

#include "import/safetensors.hpp"
#include "scratch.hpp"

namespace tetrarch::storage {
namespace {

using namespace std::string_literals;

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
