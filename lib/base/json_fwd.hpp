/// The name of JSON values, for headers that only pass them on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace tetrarch::base {

using Json = nlohmann::ordered_json;

}  // namespace tetrarch::base
