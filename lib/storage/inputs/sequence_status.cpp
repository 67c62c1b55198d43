// What became of a sequence, in words.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/sequence_status.hpp"

namespace tetrarch::storage {

std::string_view name_of(SequenceStatus status) {
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
