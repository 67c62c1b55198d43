/// The members of the object on a line, without looking into their values.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tetrarch::storage {

struct JsonMember {
  std::string_view key;    // between its quotes, as it is written
  std::string_view value;  // with brackets or quotes
  std::size_t at = 0;      // of the value in the line
};

/// Goes by brackets, commas, colons and quotes alone. Texts may hold any bytes and escapes, and any
/// word may stand for a number (NaN, 1e999): so values that nobody needs need not be sound.
class JsonMembers {
 public:
  /// The line begins with '{'.
  explicit JsonMembers(std::string_view line) : line_(line) {}
  /// False at the end, and where the line is no JSON.
  bool next(JsonMember& member);
  /// "" when all of the line is one object.
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
