// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "backend/cuda/backend.hpp"

namespace tetrarch::backend {
namespace {

TEST(Cuda, IsRefusedWithTheWayOut) {
  MPI_Comm self = MPI_COMM_NULL;
  mpi::check(MPI_Comm_dup(MPI_COMM_SELF, &self), "MPI_Comm_dup");
  const mpi::Communicator world(self);

  try {
    make_cuda_backend(world, 1);
    ADD_FAILURE() << "a CUDA backend was made";
  } catch (const base::Refusal& error) {
    EXPECT_EQ(error.code(), base::ExitCode::usage);
    EXPECT_NE(std::string(error.what()).find("--backend cpu"), std::string::npos);
  }
}

}  // namespace
}  // namespace tetrarch::backend
