/// One rank answers the questions of all, also while it computes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

/// A thread of rank 0 answers, since MPI's one-sided calls need the owner to call MPI too: a
/// counter of MPI_Fetch_and_op over TCP waits for as long as its owner computes.
class Desk {
 public:
  /// Called on rank 0 alone, for one question at a time, of any rank; mostly in the desk's thread.
  using Answer = std::function<std::int64_t(int rank)>;

  /// Collective. With more than one rank throws UsageError(communication) on every rank where MPI
  /// may not be called from several threads at once.
  Desk(const Communicator& communicator, Answer answer);
  /// Collective: waits until all ranks have asked their last question, except when an exception is
  /// under way.
  ~Desk();
  Desk(const Desk&) = delete;
  Desk& operator=(const Desk&) = delete;

  /// The answer to this rank. On rank 0 no message is sent, and what `answer` throws comes out.
  /// Throws SystemError(communication) on another rank when the answer failed or MPI did.
  std::int64_t ask() const;

 private:
  void serve();
  bool serve_one();

  Communicator communicator_;
  Answer answer_;
  mutable std::mutex mutex_;  // one question at a time
  std::atomic<bool> is_closed_ = false;
  int exceptions_at_start_;
  std::thread thread_;  // of rank 0 among others
};

}  // namespace tetrarch::mpi
