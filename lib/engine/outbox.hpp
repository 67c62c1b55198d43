/// Sends host bytes without waiting for their receiver, up to a bound.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// Messages of one (to, tag) arrive in the order of their posts; mpi::Communicator::receive takes
/// them. No thread: sends go on while this rank calls MPI, whatever for.
class Outbox {
 public:
  /// At most `most_bytes` are on their way, or one message larger than that alone. `communicator`
  /// outlives the outbox.
  Outbox(const mpi::Communicator& communicator, std::int64_t most_bytes);
  /// As flush(), except when an exception is under way or a send fails: then what is on its way is
  /// given up without waiting for a peer that may be lost.
  ~Outbox();
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  /// Takes the bytes and starts their send. Waits for the oldest ones when too many are on their
  /// way: so nobody whom this rank posts to may wait for it before receiving.
  /// Throws SystemError(communication).
  void post(std::vector<std::byte> bytes, int to, int tag);
  /// Waits until all that was posted has left. Throws SystemError(communication).
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
