/// Starts MPI and ends it. Must be made before every other MPI object and destroyed after them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

class Session {
 public:
  /// Calls MPI_Init_thread and asks for MPI_THREAD_MULTIPLE. MPI_THREAD_SERIALIZED is enough,
  /// except for a Desk. Throws SystemError(communication) when MPI provides less.
  Session(int* argc, char*** argv);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// All ranks: a duplicate of MPI_COMM_WORLD.
  const Communicator& world() const { return *world_; }
  /// Name and version that the MPI library in use reports: "Open MPI v4.1.4".
  static std::string library_version();
  /// Ends all ranks at once with this exit code; with 1 instead of 0. May be called in a catch
  /// block.
  [[noreturn]] static void abort(int code);
  /// True between construction and destruction of a Session in this process.
  static bool is_active();
  /// True while a Session exists and several threads may call MPI at once (MPI_THREAD_MULTIPLE).
  static bool has_threads();

 private:
  std::unique_ptr<Communicator> world_;
};

}  // namespace tetrarch::mpi
