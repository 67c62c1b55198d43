/// Reads the keys of one JSON object by type, and reports the keys that were not read.
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

/// Reading a key that is missing or has the wrong type adds a problem, which names the key with
/// dots ("moe.router.score"), and returns 0, false, "" or an empty list. `object` must outlive the
/// reader.
class JsonReader {
 public:
  /// `prefix` stands before the keys in messages ("moe."). Adds a problem when `object` is none.
  JsonReader(const base::Json& object, std::string prefix, Problems& problems);

  bool has(const std::string& key) const;      // present and not null
  bool has_key(const std::string& key) const;  // present
  JsonReader object(const std::string& key);
  std::int64_t integer(const std::string& key);
  double real(const std::string& key);  // finite; may be written as an integer
  bool boolean(const std::string& key);
  std::string text(const std::string& key);
  std::vector<std::int64_t> integers(const std::string& key);
  std::vector<bool> booleans(const std::string& key);

  /// As above; an absent or null key gives `fallback`.
  std::int64_t integer_or(const std::string& key, std::int64_t fallback);
  double real_or(const std::string& key, double fallback);
  bool boolean_or(const std::string& key, bool fallback);
  std::string text_or(const std::string& key, const std::string& fallback);

  /// The meaning of a string that `table` names. Any other value adds a problem ("is not computed
  /// by this version") and gives the first meaning of the table.
  template <class T>
  T choice(const std::string& key, std::span<const std::pair<std::string_view, T>> table) {
    if (const base::Json* value = find(key)) {
      std::vector<std::string> names;
      for (const auto& [name, meaning] : table) {
        if (value->is_string() && value->get_ref<const std::string&>() == name) return meaning;
        names.push_back(fmt::format("\"{}\"", name));
      }
      problems_->add("{} = {} is not computed by this version (it computes {}). Use one of these.",
                     dotted(key), shown(*value), fmt::join(names, ", "));
    }
    return table.front().second;
  }

  /// Adds a problem for every key that was not read: a key in `later` is a feature that is not
  /// computed, any other is unknown, and the message names the nearest key that was read.
  void refuse_unread(std::span<const std::string_view> later);

  /// The first of several spellings of a key that is present and not null; if none is, the first of
  /// all.
  std::string spelling(std::initializer_list<const char*> keys) const;
  /// Adds the problem that this version does not compute a value; `computed` lists those it does.
  void not_computed(const std::string& key, const std::string& value, std::string_view computed);

  std::string dotted(const std::string& key) const { return prefix_ + key; }
  Problems& problems() { return *problems_; }

  /// The JSON text of a value for a message, cut after 60 bytes.
  static std::string shown(const base::Json& value);

 private:
  const base::Json* find(const std::string& key);  // marks it as read; null: missing, said so
  void wrong_type(const std::string& key, const base::Json& value, std::string_view expected);

  const base::Json* object_;  // null: there is no object, and a problem says so
  std::string prefix_;
  Problems* problems_;
  std::vector<std::string> read_;
};

}  // namespace tetrarch::plan
