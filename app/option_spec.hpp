/// The description of one option of a subcommand, and the check of a value for it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <limits>
#include <optional>
#include <string>

#include "plan/problems.hpp"

namespace tetrarch::app {

/// What values an option takes. flag: true or false; choice: one of the words in `placeholder`.
enum class Kind { text, integer, number, flag, choice };

struct OptionSpec {
  std::string name;  // without the dashes
  Kind kind = Kind::text;
  std::string placeholder = "";  // stands for the value in help; for a choice its words, "a|b|c"
  std::string fallback = "";     // the default as text; "": none
  std::string help = "";
  double min = 0;  // bounds of integers and numbers, both inclusive
  double max = std::numeric_limits<double>::max();
  bool is_required = false;
  bool is_repeatable = false;
  /// Set for options of later versions: the only value that this version accepts ("": none). Help
  /// lists these options separately.
  std::optional<std::string> only = std::nullopt;
};

/// Adds a problem when `value` does not fit the option. `where` stands before the option's name in
/// the message ("FILE: ").
void check_value(const OptionSpec& spec, const std::string& value, const std::string& where,
                 plan::Problems& problems);

/// The number that the whole of `text` spells; absent if it is no number. The locale does not
/// matter: the decimal separator is a point.
template <class T>
std::optional<T> number_in(const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

}  // namespace tetrarch::app
