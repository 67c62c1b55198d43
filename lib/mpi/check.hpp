/// MPI's answer, turned into an exception that names the call.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <source_location>

#include <mpi.h>

namespace tetrarch::mpi {

/// Throws SystemError(communication) with MPI's own text unless status is MPI_SUCCESS.
void check(int status, const char* call,
           std::source_location where = std::source_location::current());

}  // namespace tetrarch::mpi
