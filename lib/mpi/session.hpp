/// MPI from its start to its end. Made before every other MPI object and destroyed after them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

class Session {
 public:
  /// MPI_Init_thread, asking for MPI_THREAD_MULTIPLE; calls of threads in turn are enough, except
  /// for a Desk. Throws SystemError(communication) with less than that.
  Session(int* argc, char*** argv);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// All ranks, on a duplicate of MPI_COMM_WORLD.
  const Communicator& world() const { return *world_; }
  /// "Open MPI v4.1.4", as the library in use says of itself.
  static std::string library_version();
  /// Ends all ranks at once with this code (never 0). Usable from a catch block.
  [[noreturn]] static void abort(int code);
  /// True between construction and destruction of a Session in this process.
  static bool is_active();
  /// May several threads call MPI at once?
  static bool has_threads();

 private:
  std::unique_ptr<Communicator> world_;
};

}  // namespace tetrarch::mpi
