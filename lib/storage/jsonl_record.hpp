/// One line of a JSONL input, and what is wrong with it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tetrarch::storage {

/// {"id": 7, "tokens": [1, 2, 3], "score_from": 1}, or with "input_ids" or "text" instead of
/// "tokens".
struct JsonlRecord {
  /// Nothing when the line has none, or none that can be read.
  std::variant<std::monostate, std::uint64_t, std::string> id;
  std::vector<std::uint32_t> tokens;  // none when there is a problem
  std::uint64_t score_from = 0;
  bool is_text = false;  // the tokens are the bytes of "text"
  std::string problem;   // "" when the record is sound
};

/// The id as text, "none" when there is none.
std::string id_text(const JsonlRecord& record);

/// Longest id in bytes.
inline constexpr std::size_t max_id_bytes = 1024;

/// Reads the object of one line, without a tree of its values: memory is that of the line and of
/// its tokens. Other keys are passed over, whatever their values are (JsonMembers); null is as
/// absent; "tokens" and "input_ids" must not differ, and win over "text". Never throws for what the
/// line holds: the first problem is told in a short ASCII text, with the id where it can be read.
void parse_record(std::string_view line, JsonlRecord& record);

}  // namespace tetrarch::storage
