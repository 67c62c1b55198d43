// SPDX-License-Identifier: Apache-2.0
#include "mpi/check.hpp"

#include <string>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/flight_recorder.hpp"

namespace tetrarch::mpi {

void check(int status, const char* call, std::source_location where) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  int kind = MPI_ERR_UNKNOWN;
  MPI_Error_class(status, &kind);
  if (kind == MPI_ERR_NO_MEM)
    throw base::SystemError(
        base::ExitCode::resources,
        fmt::format(
            "{} failed: {} (phase {}; the system gave MPI no more memory). Raise the limits "
            "of this process (ulimit -v, the job's memory), or start fewer ranks on a node.",
            call, std::string(text, length), base::name_of(base::flight_recorder().phase())),
        where);
  throw base::SystemError(
      base::ExitCode::communication,
      fmt::format("{} failed: {} (phase {}). A rank or the network is lost; start the same command "
                  "again.",
                  call, std::string(text, length), base::name_of(base::flight_recorder().phase())),
      where);
}

}  // namespace tetrarch::mpi
