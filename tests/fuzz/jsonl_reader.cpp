// JSONL files: the records do not depend on the size of blocks, and each record can be read again
// by its place.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/jsonl_reader.hpp"

#include <vector>

#include "fuzz.hpp"

namespace {

using namespace tetrarch;
using storage::JsonlLine;
using storage::JsonlReader;
using storage::JsonlRecord;

struct Found {
  JsonlRecord record;
  JsonlLine line;
};

bool is_same(const JsonlRecord& a, const JsonlRecord& b) {
  return a.id == b.id && a.tokens == b.tokens && a.score_from == b.score_from &&
         a.is_text == b.is_text && a.problem == b.problem;
}

/// Whether the file is accepted to its end; `found` gets the records read until then.
bool read_all(const std::string& path, const storage::JsonlLimits& limits,
              std::vector<Found>& found) {
  return fuzz::is_accepted([&] {
    JsonlReader reader(path, storage::InputFormat::lines, limits);
    for (Found each; reader.next(each.record, each.line);)
      found.push_back(each);
    JsonlRecord again;
    for (const Found& each : found)
      if (each.line.bytes > 0)
        fuzz::must(reader.read(each.line, again) && is_same(again, each.record),
                   "a record is found again by its place", each.record.problem);
  });
}

}  // namespace

// Input: 1 byte for the block size of the second reading, 1 byte for the longest line; then the
// file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Bytes bytes(data, size);
  storage::JsonlLimits whole, pieces;
  whole.block_bytes = 1 << 16;
  pieces.block_bytes = 1 + bytes.byte();
  pieces.line_bytes = whole.line_bytes = 16 * (std::size_t{1} + bytes.byte());
  const fuzz::MemoryFile file(bytes.rest());
  std::vector<Found> first, second;
  const bool is_first = read_all(file.path(), whole, first);
  fuzz::must(read_all(file.path(), pieces, second) == is_first, "both readings end the same");
  fuzz::must(first.size() == second.size(), "both readings have as many records");
  for (std::size_t i = 0; i < first.size(); ++i) {
    const JsonlLine &a = first[i].line, &b = second[i].line;
    fuzz::must(a.begin == b.begin && a.bytes == b.bytes && a.number == b.number &&
                   is_same(first[i].record, second[i].record),
               "both readings have the same records", first[i].record.problem);
  }
  return 0;
}
