/// Counts the reasons for which sequences became error records.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/inputs/inputs_file.hpp"

namespace tetrarch::storage {

/// A reason and how often it occurs. Error texts that differ only in numbers are one reason.
struct ErrorReason {
  SequenceStatus status = SequenceStatus::ok;
  std::string text;  // of the first sequence with this reason
  std::int64_t count = 0;
  std::int64_t first = 0;  // the first sequence with this reason
};

/// The reasons of all error records among the sequences from `begin` on. The most frequent reason
/// comes first; of equally frequent ones, the one with the earlier first sequence.
std::vector<ErrorReason> error_reasons(const InputSet& inputs, std::int64_t begin = 0);

/// A text such as "3 error records: id is -1 (3, first a.jsonl:1)". If there are several statuses,
/// each has a line of its own. "" if there are no error records.
std::string error_summary(const InputSet& inputs);

}  // namespace tetrarch::storage
