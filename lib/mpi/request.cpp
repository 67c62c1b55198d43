// SPDX-License-Identifier: Apache-2.0
#include "mpi/request.hpp"

namespace tetrarch::mpi {

bool Request::is_done() {
  if (!request_.has_value()) return true;
  MPI_Request request = request_.get();
  int flag = 0;
  check(MPI_Test(&request, &flag, MPI_STATUS_IGNORE), "MPI_Test");
  if (flag != 0) request_.release();  // MPI has freed it
  return flag != 0;
}

void Request::wait() {
  if (!request_.has_value()) return;
  const base::Operation running(*group_, {"wait_sent", base::OperationKind::message, 0, to_});
  MPI_Request request = request_.get();
  check(MPI_Wait(&request, MPI_STATUS_IGNORE), "MPI_Wait");
  request_.release();
}

}  // namespace tetrarch::mpi
