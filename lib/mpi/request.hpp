/// A send that has been started with MPI_Isend.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/flight_recorder.hpp"
#include "base/handle.hpp"
#include "mpi/check.hpp"

namespace tetrarch::mpi {

struct CloseRequest {
  static MPI_Request empty() { return MPI_REQUEST_NULL; }
  void operator()(MPI_Request request) const noexcept { MPI_Request_free(&request); }
};

/// The bytes to send must stay where they are, unchanged, until is_done() has returned true or
/// wait() has returned. The destructor does not stop the send: if the Request is destroyed before
/// that, the bytes must never be freed or changed.
class Request {
 public:
  /// `to` is the receiver, as a rank of `group`.
  Request(MPI_Request request, base::Group& group, int to)
      : request_(request), group_(&group), to_(to) {}

  /// True when MPI no longer needs the bytes. Does not wait. Throws SystemError when the send
  /// failed.
  bool is_done();
  /// Waits until MPI no longer needs the bytes. Throws SystemError when the send failed.
  void wait();

 private:
  base::Handle<MPI_Request, CloseRequest> request_;
  base::Group* group_;
  int to_;
};

inline bool Request::is_done() {
  if (!request_.has_value()) return true;
  MPI_Request request = request_.get();
  int flag = 0;
  check(MPI_Test(&request, &flag, MPI_STATUS_IGNORE), "MPI_Test");
  if (flag != 0) request_.release();  // MPI has freed it
  return flag != 0;
}

inline void Request::wait() {
  if (!request_.has_value()) return;
  const base::Operation running(*group_, {"wait_sent", base::OperationKind::message, 0, to_});
  MPI_Request request = request_.get();
  check(MPI_Wait(&request, MPI_STATUS_IGNORE), "MPI_Wait");
  request_.release();
}

}  // namespace tetrarch::mpi
