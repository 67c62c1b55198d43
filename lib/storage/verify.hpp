/// Proves a file or run folder whole: every checksum, shape and completeness rule.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/log.hpp"

namespace tetrarch::storage {

/// weights.h5, inputs.h5, results.h5 or a run folder; says what was checked.
/// Throws UsageError: weights (4) for bad weights, input (3) for other damaged files, numerical (7)
/// for log-prob sums and NaN that contradict the rest, stopped_early (85) for results or a run
/// folder that are sound but not complete.
void verify(const std::string& path, base::Log& log);

}  // namespace tetrarch::storage
