// SPDX-License-Identifier: Apache-2.0
#include "import/safetensors.hpp"

#include <cstring>

#include "storage/scratch.hpp"

namespace tetrarch::hf {
namespace {

using base::ExitCode;
using test::is_refused;
using test::Scratch;

std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), 8);
  bytes += header;
  for (std::size_t i = 0; i < data_bytes; ++i)
    bytes += static_cast<char>(i);
  return bytes;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

TEST(Safetensors, ReadsTensorsInAnyOrderOfTheHeader) {
  const Scratch scratch;
  test::write_file(
      scratch / "m.safetensors",
      file_of("{\"__metadata__\":{\"format\":\"pt\"}," + entry("b", "BF16", "[2,2]", "[8,16]") +
                  "," + entry("a", "F32", "[2]", "[0,8]") + "," +
                  entry("none", "F16", "[0,3]", "[8,8]") + "}   ",
              16));

  const SafetensorsFile file(scratch / "m.safetensors");
  const StoredTensor& b = file.tensors().at(0);
  std::vector<std::byte> found(4);
  file.read(b, 2, found);

  EXPECT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.dtype, CheckpointDType::bf16);
  EXPECT_EQ(b.shape, (base::Shape{2, 2}));
  EXPECT_EQ(found,
            (std::vector<std::byte>{std::byte{10}, std::byte{11}, std::byte{12}, std::byte{13}}));
  EXPECT_THROW(file.read(b, 6, found), base::InternalError);
}

struct BadFile {
  const char* name;
  std::string bytes;
  std::vector<std::string> words;
};

std::vector<BadFile> bad_files() {
  const auto one = [](const std::string& text) { return file_of("{" + text + "}", 16); };
  const std::string good = entry("a", "F32", "[4]", "[0,16]");
  std::string lying = one(good), endless = one(good);
  const std::uint64_t too_long = 1'000, beyond = std::uint64_t{1} << 63;
  std::memcpy(lying.data(), &too_long, 8);
  std::memcpy(endless.data(), &beyond, 8);
  std::string deep;
  for (int i = 0; i < 100'000; ++i)
    deep += "{\"a\":";
  return {
      {"too short", "1234567", {"7 bytes", "too few"}},
      {"length beyond the file", lying, {"claims 1000 bytes", "cut off"}},
      {"length of 2^63", endless, {"9223372036854775808", "limit of 100000000"}},
      {"no object", file_of("[]", 16), {"does not begin with '{'"}},
      {"empty header", file_of("", 0), {"does not begin with '{'"}},
      {"leading space", file_of(" {" + good + "}", 16), {"does not begin with '{'"}},
      {"no JSON", file_of("{\"a\":", 16), {"not valid JSON"}},
      {"nested deeply", file_of(deep, 16), {"nested deeper"}},
      {"name twice", one(good + "," + good), {"\"a\"", "twice"}},
      {"entry no object", one("\"a\":3"), {"tensor \"a\"", "no object"}},
      {"no dtype", one("\"a\":{\"shape\":[4],\"data_offsets\":[0,16]}"), {"dtype is missing"}},
      {"no shape", one("\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,16]}"), {"shape is missing"}},
      {"no offsets", one("\"a\":{\"dtype\":\"F32\",\"shape\":[4]}"), {"data_offsets is missing"}},
      {"another key",
       one("\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"x\":1}"),
       {"other keys"}},
      {"dtype no text",
       one("\"a\":{\"dtype\":4,\"shape\":[4],\"data_offsets\":[0,16]}"),
       {"dtype is no text"}},
      {"integers", one(entry("a", "I64", "[2]", "[0,16]")), {"I64", "F32, BF16 and F16"}},
      {"negative extent", one(entry("a", "F32", "[-4]", "[0,16]")), {"shape is no list"}},
      {"fraction", one(entry("a", "F32", "[4.0]", "[0,16]")), {"shape is no list"}},
      {"shape no list", one(entry("a", "F32", "4", "[0,16]")), {"shape is no list"}},
      {"extent of 2^63",
       one(entry("a", "F32", "[9223372036854775808]", "[0,16]")),
       {"shape is no list"}},
      {"product overflows",
       one(entry("a", "F32", "[4294967296,4294967296]", "[0,16]")),
       {"is too large"}},
      {"product wraps to fit",
       one(entry("a", "F32", "[4611686018427387908]", "[0,16]")),
       {"is too large"}},
      {"too many axes",
       one(entry("a", "F32", "[1,1,1,1,1,1,1,1,4]", "[0,16]")),
       {"9 axes, more than 8"}},
      {"a name that steers the terminal",
       one(entry("\\u001b[2J\\n", "F32", "[3]", "[0,16]")),
       {R"(tensor "\x1b[2J\x0a")"}},
      {"one offset", one(entry("a", "F32", "[4]", "[16]")), {"two whole numbers"}},
      {"offsets reversed", one(entry("a", "F32", "[4]", "[16,0]")), {"the first at most"}},
      {"negative offset", one(entry("a", "F32", "[4]", "[-16,0]")), {"two whole numbers"}},
      {"beyond the data",
       one(entry("a", "F32", "[5]", "[0,20]")),
       {"byte 20, but the file has only 16 bytes", "cut off"}},
      {"far beyond",
       one(entry("a", "F32", "[4]", "[9223372036854775791,9223372036854775807]")),
       {"cut off"}},
      {"size differs", one(entry("a", "F32", "[3]", "[0,16]")), {"16 bytes", "[3]", "12"}},
      {"overlap",
       one(entry("a", "F32", "[3]", "[0,12]") + "," + entry("b", "F32", "[2]", "[8,16]")),
       {"\"b\"", "overlap"}},
      {"the same place twice", one(good + "," + entry("b", "F32", "[4]", "[0,16]")), {"overlap"}},
      {"hole",
       one(entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[2]", "[8,16]")),
       {"\"b\"", "4 bytes before its data belong to no tensor"}},
      {"hole at the start",
       one(entry("a", "F32", "[3]", "[4,16]")),
       {"4 bytes before its data belong to no tensor"}},
      {"bytes at the end", one(entry("a", "F32", "[3]", "[0,12]")), {"4 bytes at its end"}},
      {"data without tensors", one(""), {"16 bytes at its end"}},
  };
}

TEST(Safetensors, RefusesEveryKindOfBadHeaderByItsOwnMessage) {
  const Scratch scratch;
  const std::string path = scratch / "m.safetensors";
  for (const BadFile& bad : bad_files()) {
    test::write_file(path, bad.bytes);
    std::vector<std::string> words = bad.words;
    words.push_back(path);

    EXPECT_TRUE(is_refused(ExitCode::weights, words, [&] { SafetensorsFile file(path); }))
        << bad.name;
  }
  EXPECT_TRUE(is_refused(ExitCode::weights, {"No such file"},
                         [&] { SafetensorsFile file(scratch / "absent"); }));
  EXPECT_TRUE(
      is_refused(ExitCode::weights, {"regular"}, [&] { SafetensorsFile file(scratch.folder()); }));
}

}  // namespace
}  // namespace tetrarch::hf
