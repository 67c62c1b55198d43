/// Turns an MPI error code into an exception that names the call.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <source_location>

#include <mpi.h>

namespace tetrarch::mpi {

/// Does nothing when `status` is MPI_SUCCESS. Otherwise throws SystemError with the name of the
/// `call`, MPI's own text and the phase: code `resources` for MPI_ERR_NO_MEM, else `communication`.
void check(int status, const char* call,
           std::source_location where = std::source_location::current());

}  // namespace tetrarch::mpi
