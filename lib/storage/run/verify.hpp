/// Verifies a file or run folder: every checksum and shape, and whether it is complete.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/log.hpp"

namespace tetrarch::storage {

/// Verifies weights, inputs, a part, results or a run folder, and logs what was checked.
///
/// Throws Refusal with the code weights (4) for bad weights; input (3) for other damaged files;
/// numerical (7) if values in undamaged results contradict each other (log-prob sums, NaN, order,
/// counts); stopped_early (85) for results or a run folder that are undamaged but not complete.
void verify(const std::string& path, base::Log& log);

}  // namespace tetrarch::storage
