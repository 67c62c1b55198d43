/// Declares Json without its definition, for headers that only pass JSON values on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace tetrarch::base {

using Json = nlohmann::ordered_json;

}  // namespace tetrarch::base
