/// Tells a person what is in a file or run folder; only of JSON lines all data is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/log.hpp"

namespace tetrarch::storage {

/// Kind, attributes, datasets with type, shape and size, totals, first ids, statuses.
/// Throws UsageError when it is none of Tetrarch's files: weights (4) for one whose name says so,
/// else input (3).
void inspect(const std::string& path, base::Log& log);

}  // namespace tetrarch::storage
