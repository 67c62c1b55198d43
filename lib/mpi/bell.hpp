/// A one-way signal from any rank to rank 0; neither side waits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

/// Tells rank 0, by an empty message, that something happened on a rank, at any time (a stop
/// signal). Without it rank 0 would have to ask all other ranks again and again.
class Bell {
 public:
  /// Collective.
  explicit Bell(const Communicator& communicator);
  /// Collective: rank 0 receives the messages of all ranks that rang. Does nothing when an
  /// exception unwinds the stack.
  ~Bell();
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;

  /// Signals rank 0 and returns at once. Only the first call on each rank has an effect. Throws
  /// SystemError when MPI fails.
  void ring();
  /// To be called on rank 0, by one thread at a time: true when rank 0 has rung or has received the
  /// message of a rank that did. Does not wait. Throws SystemError when MPI fails.
  bool is_rung();

 private:
  Communicator communicator_;
  std::vector<Request> sent_;
  std::atomic<bool> has_rung_ = false;  // this rank has called ring()
  std::int64_t num_heard_ = 0;          // on rank 0: messages received from the others
  int exceptions_at_start_;
};

}  // namespace tetrarch::mpi
