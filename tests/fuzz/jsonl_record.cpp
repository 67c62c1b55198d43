// A line of JSONL: gives a record or a short problem; a record that is printed again parses to the
// same record.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/jsonl_record.hpp"

#include <algorithm>

#include <fmt/ranges.h>

#include "base/json.hpp"
#include "fuzz.hpp"

namespace {

using namespace tetrarch;
using storage::JsonlRecord;

std::string printed(const JsonlRecord& record) {
  base::Json json = {{"tokens", record.tokens}, {"score_from", record.score_from}};
  if (const auto* text = std::get_if<std::string>(&record.id)) json["id"] = *text;
  if (const auto* number = std::get_if<std::uint64_t>(&record.id)) json["id"] = *number;
  return json.dump();
}

void check_id(const JsonlRecord& record) {
  const auto* text = std::get_if<std::string>(&record.id);
  if (!text) return;
  fuzz::must(text->size() <= storage::max_id_bytes, "an id has a bounded length");
  fuzz::must(base::is_utf8(*text) && text->find('\0') == std::string::npos, "an id is UTF-8");
}

void check_problem(const std::string& problem) {
  constexpr std::size_t longest = 240;
  fuzz::must(problem.size() <= longest, "a problem is short", problem);
  fuzz::must(std::ranges::all_of(problem, [](char c) { return c >= ' ' && c <= '~'; }),
             "a problem is ASCII", problem);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  JsonlRecord record;
  storage::parse_record({reinterpret_cast<const char*>(data), size}, record);
  check_id(record);
  check_problem(record.problem);
  if (!record.problem.empty()) {
    fuzz::must(record.tokens.empty(), "a bad record has no tokens", record.problem);
    return 0;
  }
  fuzz::must(!record.is_text || std::ranges::all_of(record.tokens, [](auto t) { return t < 256; }),
             "tokens of a text are bytes");
  JsonlRecord again;
  const std::string line = printed(record);
  storage::parse_record(line, again);
  fuzz::must(again.problem.empty() && again.id == record.id && again.tokens == record.tokens &&
                 again.score_from == record.score_from,
             "a record that is printed reads the same", line);
  return 0;
}
