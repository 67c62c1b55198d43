/// Splits the JSON object on a line into its members, without reading their values.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tetrarch::storage {

struct JsonMember {
  std::string_view key;    // the bytes between its quotes; escapes are not decoded
  std::string_view value;  // with its brackets or quotes
  std::size_t at = 0;      // index of the value's first byte in the line
};

/// Looks only at brackets, commas, colons and quotes. A text may contain any bytes and escapes, and
/// any word is accepted as a number (NaN, 1e999). So values that nobody needs may be invalid JSON.
class JsonMembers {
 public:
  /// `line` begins with '{' and must outlive this object.
  explicit JsonMembers(std::string_view line) : line_(line) {}
  /// Finds the next member. False at the end of the object, and if the line is not JSON.
  bool next(JsonMember& member);
  /// After next() has returned false: "" if the whole line is one object, else what is wrong.
  const std::string& problem() const { return problem_; }

 private:
  char peek();
  bool refuse(const char* expected);
  bool take(char letter, const char* expected);
  bool skip_text(const char* expected);
  bool skip_key();
  bool skip_word();
  bool skip_value();
  bool begin_value();
  bool end_values();

  std::string_view line_;
  std::size_t at_ = 0;
  bool has_begun_ = false;
  std::string open_;  // the closing bracket of each array and object that is open
  std::string problem_;
};

}  // namespace tetrarch::storage
