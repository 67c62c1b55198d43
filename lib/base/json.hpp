/// JSON values and their parsing, by nlohmann-json. Only this header and json_fwd.hpp include it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace tetrarch::base {

using Json = nlohmann::ordered_json;

/// Parses text of a user's file: at most `max_depth` levels deep, at most 8 million values, no
/// duplicate keys, no NaN. Throws Refusal(code); its message has `what` (the name of the file or
/// object) and, where the text is not JSON, the byte.
Json parse_json(std::string_view text, const std::string& what, ExitCode code, int max_depth = 32);

/// The value as an integer in [least, most], written without fraction or exponent; otherwise throws
/// Json::type_error. The library's own conversion accepts every number and returns an arbitrary
/// integer for one that does not fit.
std::int64_t whole_number(const Json& value, std::int64_t least, std::int64_t most);

}  // namespace tetrarch::base
