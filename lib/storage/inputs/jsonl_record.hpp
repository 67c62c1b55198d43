/// Parses one line of a JSONL input.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tetrarch::storage {

/// The values of one line: {"id": 7, "tokens": [1, 2, 3], "score_from": 1}. It may have "input_ids"
/// or "text" instead of "tokens".
struct JsonlRecord {
  /// monostate if the line has no id, or none that can be read.
  std::variant<std::monostate, std::uint64_t, std::string> id;
  std::vector<std::uint32_t> tokens;  // empty if there is a problem
  std::uint64_t score_from = 0;
  bool is_text = false;  // the tokens are the bytes of "text"
  std::string problem;   // "" if the record is valid
};

/// The id as text; "none" if there is none.
std::string id_text(const JsonlRecord& record);

/// Longest id in bytes.
inline constexpr std::size_t max_id_bytes = 1024;

/// Parses the object of one line into `record`. Needs memory for the line and its tokens only.
///
/// Other keys are ignored, even if their values are invalid JSON (JsonMembers). A value null counts
/// as absent. "tokens" and "input_ids" must be equal if both are there; "text" is used only without
/// them. Zeros in an "attention_mask" beside "input_ids" are a problem: these then hold padding.
/// Does not throw for a bad line: `problem` then has the first problem in a short ASCII text,
/// and `id` is set if it can be read.
void parse_record(std::string_view line, JsonlRecord& record);

}  // namespace tetrarch::storage
