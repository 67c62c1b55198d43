/// The value of every option of a subcommand, and where the value comes from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json_fwd.hpp"

namespace tetrarch::app {

struct Setting {
  std::string name;
  std::vector<std::string> values;  // empty: not given, and no default
  std::string origin;               // "command line", the file's name, "default" or "not given"
};

/// All functions with a `name` throw InternalError when the subcommand has no such option;
/// integer() and number() also when it has no value.
class Settings {
 public:
  Settings(std::vector<Setting> settings, std::string word)
      : settings_(std::move(settings)), word_(std::move(word)) {}

  /// True when the option has a value, given or by default.
  bool has(const std::string& name) const { return !find(name).values.empty(); }
  /// True when the command line or the file gives the value.
  bool is_given(const std::string& name) const;
  /// The value as written (the first, when the option repeats), "" when there is none.
  std::string text(const std::string& name) const;
  const std::vector<std::string>& texts(const std::string& name) const { return find(name).values; }
  bool flag(const std::string& name) const { return text(name) == "true"; }
  std::int64_t integer(const std::string& name) const;
  double number(const std::string& name) const;
  std::optional<std::int64_t> optional_integer(const std::string& name) const;
  /// The word without dashes that the user gave (for FILE, PATH or RUN_DIR); "" for subcommands
  /// that take none.
  const std::string& word() const { return word_; }

  /// Lines for the log, one for each option: name, value, origin.
  std::vector<std::string> lines() const;
  /// {"ep": {"value": "4", "origin": "command line"}, ...}; "value" is a list when the option was
  /// given several times, null when it has no value.
  base::Json json() const;

 private:
  const Setting& find(const std::string& name) const;

  std::vector<Setting> settings_;
  std::string word_;
};

}  // namespace tetrarch::app
