/// Proves a results.h5 whole and consistent.
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

/// Attributes, shapes, checksums, fill values of failed sequences, log-prob sums; in bounded memory
/// besides a few numbers for each sequence. Throws as verify() does, but accepts "incomplete".
ResultsSummary verify_results(const std::string& path, base::Log& log);

}  // namespace tetrarch::storage
