/// A row of a subcommand's table of options, and the judgement of one value for it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <limits>
#include <optional>
#include <string>

#include "plan/problems.hpp"

namespace tetrarch::app {

enum class Kind { text, integer, number, flag, choice };

struct OptionSpec {
  std::string name;  // without the dashes
  Kind kind = Kind::text;
  std::string placeholder = "";  // of the value in help; of a choice its words, "a|b|c"
  std::string fallback = "";     // the default as text; "": none
  std::string help = "";
  double min = 0;  // of integers and numbers, both inclusive
  double max = std::numeric_limits<double>::max();
  bool is_required = false;
  bool is_repeatable = false;
  /// The one value that this version does ("": none); help names such options apart.
  std::optional<std::string> only = std::nullopt;
};

/// Adds what is wrong with `value`, if anything; `where` precedes the option's name ("FILE: ").
void check_value(const OptionSpec& spec, const std::string& value, const std::string& where,
                 plan::Problems& problems);

/// `text` as a whole as a number, in C's spelling whatever the locale; absent if it is none.
template <class T>
std::optional<T> number_in(const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

}  // namespace tetrarch::app
