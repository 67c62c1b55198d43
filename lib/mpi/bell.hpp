/// Any rank may ring, rank 0 hears it; nobody waits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

/// A message without content, for what may happen on any rank at any time: without it rank 0 would
/// have to ask all others again and again.
class Bell {
 public:
  /// Collective.
  explicit Bell(const Communicator& communicator);
  /// Collective, except when an exception is under way: waits until what was rung is taken.
  ~Bell();
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;

  /// Counts once for each rank.
  void ring();
  /// On rank 0, by one thread at a time: has any rank rung, as far as is known here?
  bool is_rung();

 private:
  Communicator communicator_;
  std::vector<Request> sent_;
  std::atomic<bool> has_rung_ = false;  // this rank
  std::int64_t num_heard_ = 0;          // on rank 0, of the others
  int exceptions_at_start_;
};

}  // namespace tetrarch::mpi
