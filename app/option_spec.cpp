// Checks the value of one option.
// SPDX-License-Identifier: Apache-2.0
#include "option_spec.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.hpp"

namespace tetrarch::app {
namespace {

std::string range_of(const OptionSpec& spec) {
  if (spec.max >= 9e18) return fmt::format("Use {} or more", spec.min);
  return fmt::format("Use {} to {}", spec.min, spec.max);
}

void check_integer(const OptionSpec& spec, const std::string& value, const std::string& label,
                   plan::Problems& problems) {
  const auto number = number_in<std::int64_t>(value);
  if (!number) {
    problems.add("{} \"{}\" is not a whole number of 64 bits. {}.", label, base::shown(value),
                 range_of(spec));
  } else if (static_cast<double>(*number) < spec.min || static_cast<double>(*number) > spec.max) {
    problems.add("{} {} is out of range. {}.", label, base::shown(value), range_of(spec));
  }
}

void check_number(const OptionSpec& spec, const std::string& value, const std::string& label,
                  plan::Problems& problems) {
  const auto number = number_in<double>(value);
  if (!number || !std::isfinite(*number)) {
    problems.add("{} \"{}\" is not a number. {}.", label, base::shown(value), range_of(spec));
  } else if (*number < spec.min || *number > spec.max) {
    problems.add("{} {} is out of range. {}.", label, base::shown(value), range_of(spec));
  }
}

void check_choice(const OptionSpec& spec, const std::string& value, const std::string& label,
                  plan::Problems& problems) {
  std::vector<std::string> words;
  std::istringstream stream(spec.placeholder);
  for (std::string word; std::getline(stream, word, '|');)
    words.push_back(word);
  if (std::find(words.begin(), words.end(), value) != words.end()) return;
  const std::string near = base::nearest(value, words);
  const std::string hint = near.empty() ? "" : fmt::format("Did you mean {}? ", near);
  problems.add("{} \"{}\" is not a valid value. {}Use {}.", label, base::shown(value), hint,
               fmt::join(words, ", "));
}

}  // namespace

void check_value(const OptionSpec& spec, const std::string& value, const std::string& where,
                 plan::Problems& problems) {
  const std::string label = where + "--" + spec.name;
  if (spec.kind == Kind::integer) return check_integer(spec, value, label, problems);
  if (spec.kind == Kind::number) return check_number(spec, value, label, problems);
  if (spec.kind == Kind::choice) return check_choice(spec, value, label, problems);
  if (spec.kind == Kind::flag && value != "true" && value != "false")
    problems.add("{} \"{}\" is neither true nor false (it is a switch). Use true or false.", label,
                 base::shown(value));
}

}  // namespace tetrarch::app
