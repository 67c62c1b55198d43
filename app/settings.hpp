/// What every option of a subcommand came out as: its value, and where that was said.
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

class Settings {
 public:
  Settings(std::vector<Setting> settings, std::string word)
      : settings_(std::move(settings)), word_(std::move(word)) {}

  bool has(const std::string& name) const { return !find(name).values.empty(); }
  /// Said by the user, so that it is not a default.
  bool is_given(const std::string& name) const;
  /// The value as written, "" when there is none.
  std::string text(const std::string& name) const;
  const std::vector<std::string>& texts(const std::string& name) const { return find(name).values; }
  bool flag(const std::string& name) const { return text(name) == "true"; }
  std::int64_t integer(const std::string& name) const;
  double number(const std::string& name) const;
  std::optional<std::int64_t> optional_integer(const std::string& name) const;
  /// The word without dashes (FILE, PATH, RUN_DIR); "" for subcommands that take none.
  const std::string& word() const { return word_; }

  /// The resolved configuration for the log, a line an option: name, value, origin.
  std::vector<std::string> lines() const;
  /// {"ep": {"value": "4", "origin": "command line"}, ...}; a list where an option repeats, null
  /// where there is no value.
  base::Json json() const;

 private:
  const Setting& find(const std::string& name) const;

  std::vector<Setting> settings_;
  std::string word_;
};

}  // namespace tetrarch::app
