// gzip and zstd files: reading in pieces of any size gives the same bytes. Built once for each
// format.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/packed_file.hpp"

#include <algorithm>

#include "fuzz.hpp"
#include "storage/inputs/jsonl_reader.hpp"

namespace {

using namespace tetrarch;

constexpr storage::InputFormat format = storage::InputFormat::TETRARCH_FUZZ_FORMAT;
constexpr std::size_t most_bytes = 1 << 20;  // of the content

struct Reading {
  bool is_accepted = false;
  std::string inside;
  bool is_cut() const { return inside.size() >= most_bytes; }
};

Reading read_all(const std::string& path, std::size_t piece_bytes) {
  Reading reading;
  reading.is_accepted = fuzz::is_accepted([&] {
    const auto file = storage::open_packed(path, format);
    std::string piece(piece_bytes, '\0');
    while (!reading.is_cut()) {
      const std::size_t count = file->read(piece.data(), piece.size());
      if (count == 0) return;
      reading.inside.append(piece, 0, count);
    }
  });
  return reading;
}

}  // namespace

// Input: 1 byte for the size of pieces in the second reading; then the file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Bytes bytes(data, size);
  const std::size_t piece = 1 + 7 * std::size_t{bytes.byte()};
  const fuzz::MemoryFile file(bytes.rest());
  const Reading large = read_all(file.path(), 1 << 16), small = read_all(file.path(), piece);
  const std::size_t both = std::min(large.inside.size(), small.inside.size());
  fuzz::must(large.inside.compare(0, both, small.inside, 0, both) == 0,
             "pieces of any size give the same bytes");
  if (large.is_cut() || small.is_cut()) return 0;
  fuzz::must(large.is_accepted == small.is_accepted, "pieces of any size end the same");
  fuzz::must(!large.is_accepted || large.inside.size() == small.inside.size(),
             "pieces of any size give all bytes");
  storage::Unpacked found;
  const bool is_lines = fuzz::is_accepted([&] {
    storage::JsonlReader reader(file.path(), format);
    storage::JsonlRecord record;
    for (storage::JsonlLine line; reader.next(record, line);) {
    }
    found = reader.unpacked();
  });
  fuzz::must(!is_lines || (large.is_accepted && found.bytes == large.inside.size()),
             "the lines are all that is inside");
  return 0;
}
