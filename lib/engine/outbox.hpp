/// Sends host bytes without waiting for the receiver, up to a bound.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// Messages with the same (to, tag) arrive in the order in which they were posted;
/// mpi::Communicator::receive() receives them. There is no thread: sends make progress whenever
/// this rank calls MPI.
class Outbox {
 public:
  /// At most `most_bytes` bytes are in transit, or one larger message alone. `communicator` must
  /// outlive the outbox.
  Outbox(const mpi::Communicator& communicator, std::int64_t most_bytes);
  /// Calls flush(). Exception: while an exception propagates, or when a send fails, it abandons the
  /// unsent messages without waiting, because a peer may be lost.
  ~Outbox();
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  /// Takes ownership of the bytes and starts to send them. When too many bytes are in transit, it
  /// first waits until the oldest messages are sent. To avoid a deadlock, a rank must not wait for
  /// this one before it receives. Throws SystemError(communication).
  void post(std::vector<std::byte> bytes, int to, int tag);
  /// Waits until everything posted has been sent. Throws SystemError(communication).
  void flush();
  std::int64_t bytes_under_way() const { return bytes_under_way_; }

 private:
  struct Send {
    std::vector<std::byte> bytes;
    std::vector<mpi::Request> requests;
  };
  void wait_for_oldest();
  void retire_done();

  const mpi::Communicator& communicator_;
  std::int64_t most_bytes_;
  std::int64_t bytes_under_way_ = 0;
  std::deque<Send> sends_;
  int exceptions_at_start_;
};

}  // namespace tetrarch::engine
