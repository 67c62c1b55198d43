/// Why sequences became error records, counted.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/inputs_file.hpp"

namespace tetrarch::storage {

/// Errors that differ in numbers alone are one reason.
struct ErrorReason {
  SequenceStatus status = SequenceStatus::ok;
  std::string text;  // of the first
  std::int64_t count = 0;
  std::int64_t first = 0;  // sequence
};

/// Of the sequences from `begin` on: the most frequent first, then the earliest.
std::vector<ErrorReason> error_reasons(const InputSet& inputs, std::int64_t begin = 0);

/// "3 error records: id is -1 (3, first a.jsonl:1)", by status where there are several; "" where
/// there is none.
std::string error_summary(const InputSet& inputs);

}  // namespace tetrarch::storage
