/// Reads Hugging Face's config.json so that nothing is taken for granted in silence.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plan/json_reader.hpp"

namespace tetrarch::plan {

/// A JsonReader whose defaults become remarks, and for which two spellings of one key must agree.
/// `object` and `remarks` must outlive it.
class HfReader : public JsonReader {
 public:
  HfReader(const base::Json& object, std::string prefix, Problems& problems,
           std::vector<std::string>& remarks)
      : JsonReader(object, std::move(prefix), problems), json_(&object), remarks_(&remarks) {}

  /// As JsonReader's ..._or, and where `fallback` is used, one remark says so; `reason` says where
  /// it comes from.
  std::int64_t integer_by_default(const std::string& key, std::int64_t fallback,
                                  std::string_view reason = of_class);
  double real_by_default(const std::string& key, double fallback,
                         std::string_view reason = of_class);
  bool boolean_by_default(const std::string& key, bool fallback);
  std::string text_by_default(const std::string& key, const std::string& fallback);

  /// The first of several spellings of a key that is there and not null, else the first. Another
  /// one with another value is a problem.
  std::string agreed(std::initializer_list<const char*> keys);
  /// A problem where another reader's key has another value than this one's.
  void must_agree(const std::string& key, const HfReader& other, const std::string& others_key);

  /// A reader of an object that stands below `key`, or was made of what does.
  HfReader inside(const base::Json& object, const std::string& key) {
    return {object, dotted(key) + ".", problems(), *remarks_};
  }
  /// The value of a key that is there.
  const base::Json& value(const std::string& key) const { return json_->at(key); }
  template <class... Args>
  void remark(fmt::format_string<Args...> format, Args&&... args) {
    remarks_->push_back(fmt::format(format, std::forward<Args>(args)...));
  }
  /// Says that the fallback of a key is used.
  void remark_default(const std::string& key, const std::string& fallback, std::string_view reason);

 private:
  static constexpr std::string_view of_class = "the default of its class";

  const base::Json* json_;
  std::vector<std::string>* remarks_;
};

}  // namespace tetrarch::plan
