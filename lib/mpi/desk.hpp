/// A thread on rank 0 answers questions of all ranks with a number, also while rank 0 computes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

/// Used to hand out indices from one counter. MPI's one-sided calls do not serve for that: over
/// TCP, MPI_Fetch_and_op waits until the rank that owns the counter calls MPI, so for as long as
/// that rank computes.
class Desk {
 public:
  /// Computes the answer to a question of `rank`. Called on rank 0 only, for one question at a
  /// time: in the desk's thread for other ranks, in the caller's thread for rank 0 itself.
  using Answer = std::function<std::int64_t(int rank)>;

  /// Collective. Throws Refusal(communication) on every rank when there are several ranks and
  /// MPI does not allow calls from several threads at once (MPI_THREAD_MULTIPLE).
  Desk(const Communicator& communicator, Answer answer);
  /// Collective: waits until every rank has come here, so that no question is left without an
  /// answer. Does not wait when an exception unwinds the stack.
  ~Desk();
  Desk(const Desk&) = delete;
  Desk& operator=(const Desk&) = delete;

  /// Asks, waits, and returns the answer for this rank. On rank 0 no message is sent, and an
  /// exception of `answer` passes through. Another rank throws SystemError(communication) when
  /// `answer` threw on rank 0, and SystemError as check() does when MPI fails.
  std::int64_t ask() const;

 private:
  void serve();
  bool serve_one();

  Communicator communicator_;
  Answer answer_;
  mutable std::mutex mutex_;  // held while answer_ runs
  std::atomic<bool> is_closed_ = false;
  int exceptions_at_start_;
  std::thread thread_;  // on rank 0 when there are other ranks
};

}  // namespace tetrarch::mpi
