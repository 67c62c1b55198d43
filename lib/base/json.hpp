/// JSON, by nlohmann-json; the only place that includes it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace tetrarch::base {

using Json = nlohmann::ordered_json;

/// Parses foreign text: at most `max_depth` deep, no duplicate keys, no NaN.
/// Throws UsageError(code) with `what` (a file or object name) and the place in the text.
Json parse_json(std::string_view text, const std::string& what, ExitCode code, int max_depth = 32);

}  // namespace tetrarch::base
