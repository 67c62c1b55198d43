// Backends are created by name.
// SPDX-License-Identifier: Apache-2.0
#include "engine/backends.hpp"

#include <gtest/gtest.h>

#include "base/build_info.hpp"
#include "mpi/world.hpp"

namespace tetrarch::engine {
namespace {

TEST(Backends, AutomaticTakesTheCpu) {
  const mpi::Communicator world = mpi::everyone();

  EXPECT_EQ(make_backend(plan::BackendKind::cpu, world, 1)->name(), "cpu");
  EXPECT_EQ(make_backend(plan::BackendKind::automatic, world, 1)->name(), "cpu");
}

TEST(Backends, CudaIsRefusedWhereItCannotBeHad) {
  if (base::build_info().has_cuda) GTEST_SKIP() << "built with CUDA";
  const mpi::Communicator world = mpi::everyone();
  try {
    make_backend(plan::BackendKind::cuda, world, 1);
    ADD_FAILURE() << "nothing was refused";
  } catch (const base::Refusal& error) {
    EXPECT_EQ(error.code(), base::ExitCode::usage);
    EXPECT_NE(std::string(error.what()).find("CUDA"), std::string::npos) << error.what();
  }
}

TEST(Backends, TheLibrariesAreNamed) {
  EXPECT_EQ(describe_backends().find("oneDNN "), 0u) << describe_backends();
}

}  // namespace
}  // namespace tetrarch::engine
