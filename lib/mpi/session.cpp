// SPDX-License-Identifier: Apache-2.0
#include "mpi/session.hpp"

#include <cstdlib>

#include "base/error.hpp"

namespace tetrarch::mpi {
namespace {
bool active = false;
bool threads = false;
}  // namespace

Session::Session(int* argc, char*** argv) {
  int provided = 0;
  check(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_SERIALIZED)
    throw base::SystemError(
        base::ExitCode::communication,
        "this MPI has no MPI_THREAD_SERIALIZED "
        "(several threads call MPI, one at a time). Use an MPI library built with threads.");
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  world_ = std::make_unique<Communicator>(comm, "world");
  threads = provided == MPI_THREAD_MULTIPLE;
  active = true;
}

Session::~Session() {
  active = false;
  const base::GroupHandle all = base::flight_recorder().add_group("world", world_->group().ranks);
  world_.reset();
  const base::Operation running(*all.get(), {"finalize"});
  MPI_Finalize();
}

std::string Session::library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string whole(text, length);
  return whole.substr(0, whole.find_first_of(",\n"));
}

void Session::abort(int code) {
  active = false;  // MPI_Abort of MPICH calls exit(), and a handler of that asks is_active()
  MPI_Abort(MPI_COMM_WORLD, code == 0 ? 1 : code);
  std::_Exit(code == 0 ? 1 : code);
}

bool Session::is_active() {
  return active;
}

bool Session::has_threads() {
  return active && threads;
}

}  // namespace tetrarch::mpi
