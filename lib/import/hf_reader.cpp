// Reads Hugging Face's config.json and reports each default that is used.
// SPDX-License-Identifier: Apache-2.0
#include "import/hf_reader.hpp"

namespace tetrarch::hf {

void HfReader::remark_default(const std::string& key, const std::string& fallback,
                              std::string_view reason) {
  remark("{} is {}: {} is used, {}.", dotted(key), has_key(key) ? "null" : "not given", fallback,
         reason);
}

std::int64_t HfReader::integer_by_default(const std::string& key, std::int64_t fallback,
                                          std::string_view reason) {
  if (!has(key)) remark_default(key, fmt::format("{}", fallback), reason);
  return integer_or(key, fallback);
}

double HfReader::real_by_default(const std::string& key, double fallback, std::string_view reason) {
  if (!has(key)) remark_default(key, fmt::format("{}", fallback), reason);
  return real_or(key, fallback);
}

bool HfReader::boolean_by_default(const std::string& key, bool fallback) {
  if (!has(key)) remark_default(key, fallback ? "true" : "false", of_class);
  return boolean_or(key, fallback);
}

std::string HfReader::text_by_default(const std::string& key, const std::string& fallback) {
  if (!has(key)) remark_default(key, fallback, of_class);
  return text_or(key, fallback);
}

std::string HfReader::agreed(std::initializer_list<const char*> keys) {
  const std::string first = spelling(keys);
  for (const char* key : keys)
    if (key != first && has(key)) must_agree(first, *this, key);
  return first;
}

void HfReader::must_agree(const std::string& key, const HfReader& other,
                          const std::string& others_key) {
  if (!has(key) || !other.has(others_key) || value(key) == other.value(others_key)) return;
  problems().add("{} = {} and {} = {} contradict each other. Remove the wrong one.", dotted(key),
                 shown(value(key)), other.dotted(others_key), shown(other.value(others_key)));
}

}  // namespace tetrarch::hf
