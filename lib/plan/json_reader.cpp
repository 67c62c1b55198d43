// Reads the keys of one JSON object by type, and reports the keys that were not read.
// SPDX-License-Identifier: Apache-2.0
#include "plan/json_reader.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.hpp"

namespace tetrarch::plan {

using base::Json;

namespace {

/// The value of a JSON integer that fits in 64 bits; absent for anything else, also for 1.0.
std::optional<std::int64_t> integer_of(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return {};
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  return {};
}

}  // namespace

JsonReader::JsonReader(const Json& object, std::string prefix, Problems& problems)
    : object_(&object), prefix_(std::move(prefix)), problems_(&problems) {
  if (object.is_object()) return;
  const std::string name =
      prefix_.empty() ? "the JSON value" : prefix_.substr(0, prefix_.size() - 1);
  problems_->add("{} is {} (expected an object).", name, shown(object));
  object_ = nullptr;
}

std::string JsonReader::shown(const Json& value) {
  constexpr std::size_t longest = 60;
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > longest) text = text.substr(0, longest) + "...";
  return text;
}

bool JsonReader::has_key(const std::string& key) const {
  return object_ && object_->contains(key);
}

bool JsonReader::has(const std::string& key) const {
  return has_key(key) && !object_->at(key).is_null();
}

const Json* JsonReader::find(const std::string& key) {
  if (!object_) return nullptr;
  read_.push_back(key);
  const auto found = object_->find(key);
  if (found != object_->end()) return &*found;
  problems_->add("{} is missing.", dotted(key));
  return nullptr;
}

void JsonReader::wrong_type(const std::string& key, const Json& value, std::string_view expected) {
  problems_->add("{} = {} is not {}.", dotted(key), shown(value), expected);
}

JsonReader JsonReader::object(const std::string& key) {
  static const Json nothing = Json::object();
  const Json* value = find(key);
  JsonReader reader(value ? *value : nothing, dotted(key) + ".", *problems_);
  if (!value) reader.object_ = nullptr;
  return reader;
}

std::int64_t JsonReader::integer(const std::string& key) {
  const Json* value = find(key);
  if (!value) return 0;
  if (const auto number = integer_of(*value)) return *number;
  wrong_type(key, *value, "a whole number of 63 bits");
  return 0;
}

double JsonReader::real(const std::string& key) {
  const Json* value = find(key);
  if (!value) return 0;
  if (value->is_number() && std::isfinite(value->get<double>())) return value->get<double>();
  wrong_type(key, *value, "a finite number");
  return 0;
}

bool JsonReader::boolean(const std::string& key) {
  const Json* value = find(key);
  if (!value) return false;
  if (value->is_boolean()) return value->get<bool>();
  wrong_type(key, *value, "true or false");
  return false;
}

std::string JsonReader::text(const std::string& key) {
  const Json* value = find(key);
  if (!value) return {};
  if (value->is_string()) return value->get<std::string>();
  wrong_type(key, *value, "a string");
  return {};
}

std::vector<std::int64_t> JsonReader::integers(const std::string& key) {
  const Json* value = find(key);
  std::vector<std::int64_t> numbers;
  if (!value) return numbers;
  if (value->is_array()) {
    for (const Json& element : *value)
      if (const auto number = integer_of(element)) numbers.push_back(*number);
  }
  if (!value->is_array() || numbers.size() != value->size())
    wrong_type(key, *value, "a list of whole numbers");
  return numbers;
}

std::vector<bool> JsonReader::booleans(const std::string& key) {
  const Json* value = find(key);
  std::vector<bool> flags;
  if (!value) return flags;
  if (value->is_array()) {
    for (const Json& element : *value)
      if (element.is_boolean()) flags.push_back(element.get<bool>());
  }
  if (!value->is_array() || flags.size() != value->size())
    wrong_type(key, *value, "a list of true and false");
  return flags;
}

std::int64_t JsonReader::integer_or(const std::string& key, std::int64_t fallback) {
  return has(key) ? integer(key) : fallback;
}

double JsonReader::real_or(const std::string& key, double fallback) {
  return has(key) ? real(key) : fallback;
}

bool JsonReader::boolean_or(const std::string& key, bool fallback) {
  return has(key) ? boolean(key) : fallback;
}

std::string JsonReader::text_or(const std::string& key, const std::string& fallback) {
  return has(key) ? text(key) : fallback;
}

std::string JsonReader::spelling(std::initializer_list<const char*> keys) const {
  for (const char* key : keys)
    if (has(key)) return key;
  return *keys.begin();
}

void JsonReader::not_computed(const std::string& key, const std::string& value,
                              std::string_view computed) {
  problems_->add("{} = {} is not computed by this version (it computes {}).", dotted(key), value,
                 computed);
}

void JsonReader::refuse_unread(std::span<const std::string_view> later) {
  if (!object_) return;
  for (const auto& [key, value] : object_->items()) {
    if (std::find(read_.begin(), read_.end(), key) != read_.end()) continue;
    const std::string name = dotted(base::shown(key));
    if (std::find(later.begin(), later.end(), key) != later.end()) {
      problems_->add("{} = {} is a feature that is not computed by this version.", name,
                     shown(value));
      continue;
    }
    const std::string near = problems_->is_full() ? "" : base::nearest(key, read_);
    if (near.empty()) {
      problems_->add("{} is an unknown key. Remove it.", name);
    } else {
      problems_->add("{} is an unknown key. Did you mean {}?", name, dotted(near));
    }
  }
}

}  // namespace tetrarch::plan
