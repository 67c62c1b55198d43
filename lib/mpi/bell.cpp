// SPDX-License-Identifier: Apache-2.0
#include "mpi/bell.hpp"

#include <exception>

namespace tetrarch::mpi {
namespace {

constexpr int ring_tag = 1;

}  // namespace

Bell::Bell(const Communicator& communicator)
    : communicator_(communicator.split(0, communicator.rank(), "bell")),
      exceptions_at_start_(std::uncaught_exceptions()) {}

Bell::~Bell() {
  if (std::uncaught_exceptions() != exceptions_at_start_) return;
  const bool is_root = communicator_.rank() == 0;
  const std::int64_t num_rung = communicator_.sum(std::int64_t{has_rung_ && !is_root});
  for (; is_root && num_heard_ < num_rung; ++num_heard_)
    MPI_Recv(nullptr, 0, MPI_BYTE, MPI_ANY_SOURCE, ring_tag, communicator_.get(),
             MPI_STATUS_IGNORE);
  for (Request& request : sent_)
    request.wait();
}

void Bell::ring() {
  if (has_rung_.exchange(true) || communicator_.rank() == 0) return;
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Isend(nullptr, 0, MPI_BYTE, 0, ring_tag, communicator_.get(), &request), "MPI_Isend");
  sent_.emplace_back(request, communicator_.group(), 0);
}

bool Bell::is_rung() {
  int is_there = 1;
  while (is_there != 0) {
    check(MPI_Iprobe(MPI_ANY_SOURCE, ring_tag, communicator_.get(), &is_there, MPI_STATUS_IGNORE),
          "MPI_Iprobe");
    if (is_there == 0) break;
    check(MPI_Recv(nullptr, 0, MPI_BYTE, MPI_ANY_SOURCE, ring_tag, communicator_.get(),
                   MPI_STATUS_IGNORE),
          "MPI_Recv");
    ++num_heard_;
  }
  return has_rung_ || num_heard_ > 0;
}

}  // namespace tetrarch::mpi
