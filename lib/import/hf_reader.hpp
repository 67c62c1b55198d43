/// Reads Hugging Face's config.json and reports each default that is used.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plan/json_reader.hpp"

namespace tetrarch::hf {

/// A JsonReader that adds a remark for each default it uses, and a problem when two spellings of
/// one key have different values. `object` and `remarks` must outlive it.
class HfReader : public plan::JsonReader {
 public:
  HfReader(const base::Json& object, std::string prefix, plan::Problems& problems,
           std::vector<std::string>& remarks)
      : plan::JsonReader(object, std::move(prefix), problems), json_(&object), remarks_(&remarks) {}

  /// Like integer_or() and its siblings; when `fallback` is used, adds a remark, in which `reason`
  /// says where the fallback comes from.
  std::int64_t integer_by_default(const std::string& key, std::int64_t fallback,
                                  std::string_view reason = of_class);
  double real_by_default(const std::string& key, double fallback,
                         std::string_view reason = of_class);
  bool boolean_by_default(const std::string& key, bool fallback);
  std::string text_by_default(const std::string& key, const std::string& fallback);

  /// The first of several spellings of a key that is present and not null; if none is, the first of
  /// all. Adds a problem when two of them are present with different values.
  std::string agreed(std::initializer_list<const char*> keys);
  /// Adds a problem when `key` here and `others_key` in `other` are both present and differ.
  void must_agree(const std::string& key, const HfReader& other, const std::string& others_key);

  /// A reader of the object under `key`, or of an object made from it. Messages name its keys
  /// "key.name".
  HfReader inside(const base::Json& object, const std::string& key) {
    return {object, dotted(key) + ".", problems(), *remarks_};
  }
  /// The value of a key that must be present.
  const base::Json& value(const std::string& key) const { return json_->at(key); }
  template <class... Args>
  void remark(fmt::format_string<Args...> format, Args&&... args) {
    remarks_->push_back(fmt::format(format, std::forward<Args>(args)...));
  }
  /// Adds the remark that the fallback of a key is used.
  void remark_default(const std::string& key, const std::string& fallback, std::string_view reason);

 private:
  static constexpr std::string_view of_class = "the default of its class";

  const base::Json* json_;
  std::vector<std::string>* remarks_;
};

}  // namespace tetrarch::hf
