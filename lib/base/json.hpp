/// JSON, by nlohmann-json; the only place that includes it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace tetrarch::base {

using Json = nlohmann::ordered_json;

/// Parses foreign text: at most `max_depth` deep and 8 million values, no duplicate keys, no NaN.
/// Throws UsageError(code) with `what` (a file or object name) and the place in the text.
Json parse_json(std::string_view text, const std::string& what, ExitCode code, int max_depth = 32);

/// A number without fraction or exponent that lies in [least, most]. The library's own conversion
/// takes all numbers, and what does not fit becomes anything. Throws Json::type_error.
std::int64_t whole_number(const Json& value, std::int64_t least, std::int64_t most);

}  // namespace tetrarch::base
