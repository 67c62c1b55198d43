/// Verifies a results.h5.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/log.hpp"

namespace tetrarch::storage {

struct ResultsSummary {
  std::string run_uuid;
  bool is_complete = false;
  std::int64_t num_ok = 0, num_failed = 0, num_missing = 0;
};

/// Verifies attributes, shapes, checksums, fill values of failed sequences, sums of log-probs.
/// Needs bounded memory, and a few numbers for each sequence. Throws as verify(), but accepts
/// results whose status is "incomplete".
ResultsSummary verify_results(const std::string& path, base::Log& log);

}  // namespace tetrarch::storage
