/// A send that has been started and goes on by itself.
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

/// The bytes stay where they are, unchanged, until is_done() or wait() has said so. One destroyed
/// before that lets its send go on: the bytes must then stay for ever.
class Request {
 public:
  /// `to`: who receives, a rank of `group`.
  Request(MPI_Request request, base::Group& group, int to)
      : request_(request), group_(&group), to_(to) {}

  /// Does not wait. Throws SystemError(communication) when the send failed.
  bool is_done();
  void wait();

 private:
  base::Handle<MPI_Request, CloseRequest> request_;
  base::Group* group_;
  int to_;
};

}  // namespace tetrarch::mpi
