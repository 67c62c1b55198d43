/// What became of a sequence.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace tetrarch::storage {

/// The numbers stand in /sequences/status of results and parts.
enum class SequenceStatus : std::uint8_t {
  ok = 0,
  empty = 1,
  bad_token = 2,
  too_long = 3,
  not_finite = 4,
  bad_record = 5,
  not_done = 255,  // only in results whose status is "incomplete"
};

/// In words, as logs show it.
inline std::string_view name_of(SequenceStatus status) {
  switch (status) {
    case SequenceStatus::ok:
      return "ok";
    case SequenceStatus::empty:
      return "empty";
    case SequenceStatus::bad_token:
      return "token id";
    case SequenceStatus::too_long:
      return "longer than max_position";
    case SequenceStatus::not_finite:
      return "non-finite";
    case SequenceStatus::bad_record:
      return "bad record";
    case SequenceStatus::not_done:
      return "not done";
  }
  return "unknown";
}

}  // namespace tetrarch::storage
