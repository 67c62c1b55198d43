/// Reads the keys of one JSON object by type, and notices those that nobody asked for.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "base/json.hpp"
#include "plan/problems.hpp"

namespace tetrarch::plan {

/// A key that is missing or has the wrong type becomes a problem, named with dots
/// ("moe.router.score"), and reads as 0, false or "". `object` must outlive the reader.
class JsonReader {
 public:
  JsonReader(const base::Json& object, std::string prefix, Problems& problems);

  bool has(const std::string& key) const;      // present and not null
  bool has_key(const std::string& key) const;  // present
  JsonReader object(const std::string& key);
  std::int64_t integer(const std::string& key);
  double real(const std::string& key);  // finite; JSON integers are welcome
  bool boolean(const std::string& key);
  std::string text(const std::string& key);
  std::vector<std::int64_t> integers(const std::string& key);
  std::vector<bool> booleans(const std::string& key);

  /// As above, where an absent or null key means `fallback`.
  std::int64_t integer_or(const std::string& key, std::int64_t fallback);
  double real_or(const std::string& key, double fallback);
  bool boolean_or(const std::string& key, bool fallback);
  std::string text_or(const std::string& key, const std::string& fallback);

  /// One of the named values; another is a feature that is not computed.
  template <class T>
  T choice(const std::string& key, std::span<const std::pair<std::string_view, T>> table) {
    if (const base::Json* value = find(key)) {
      std::vector<std::string> names;
      for (const auto& [name, meaning] : table) {
        if (value->is_string() && value->get_ref<const std::string&>() == name) return meaning;
        names.push_back(fmt::format("\"{}\"", name));
      }
      problems_->add("{} = {} is not computed by this version (which has {}). Use one of these.",
                     dotted(key), shown(*value), fmt::join(names, ", "));
    }
    return table.front().second;
  }

  /// Reports every key that was not read: those in `later` as features that are not computed, the
  /// others as unknown, with the nearest that was read.
  void refuse_unread(std::span<const std::string_view> later);

  /// The first of several spellings of a key that is there and not null, else the first.
  std::string spelling(std::initializer_list<const char*> keys) const;
  /// Reports a value that no computation here has; `computed` says what it has.
  void not_computed(const std::string& key, const std::string& value, std::string_view computed);

  std::string dotted(const std::string& key) const { return prefix_ + key; }
  Problems& problems() { return *problems_; }

  /// A value as a message shows it: its text, cut where it is long.
  static std::string shown(const base::Json& value);

 private:
  const base::Json* find(const std::string& key);  // notes the key as read; null: a problem
  void wrong_type(const std::string& key, const base::Json& value, std::string_view expected);

  const base::Json* object_;  // null: the object itself is missing, which has been said
  std::string prefix_;
  Problems* problems_;
  std::vector<std::string> read_;
};

}  // namespace tetrarch::plan
