/// Prints what is in a file or run folder. Reads all data only for JSON lines.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/log.hpp"

namespace tetrarch::storage {

/// Prints to `log`: kind, attributes, datasets with type, shape and size, totals, first ids,
/// statuses. Throws Refusal if the file is none of Tetrarch's or cannot be read, with the code
/// weights (4) if its name contains "weights", else input (3).
void inspect(const std::string& path, base::Log& log);

}  // namespace tetrarch::storage
