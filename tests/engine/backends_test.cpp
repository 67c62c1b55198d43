// Backends are created by name.
// SPDX-License-Identifier: Apache-2.0
#include "engine/backends.hpp"

#include <algorithm>
#include <regex>

#include <gtest/gtest.h>

#include "backends_at_hand.hpp"
#include "base/build_info.hpp"

namespace tetrarch::engine {
namespace {

TEST(Backends, AutomaticTakesTheCpu) {
  const mpi::Communicator world = mpi::everyone();

  EXPECT_EQ(make_backend(plan::BackendKind::cpu, world, 1)->name(), "cpu");
  EXPECT_EQ(make_backend(plan::BackendKind::automatic, world, 1)->name(), "cpu");
}

TEST(Backends, CudaComputesOrIsRefusedWithTheReasonAndTheWayOut) {
  const mpi::Communicator world = mpi::everyone();
  const base::BuildInfo& build = base::build_info();
  try {
    const std::string name = make_backend(plan::BackendKind::cuda, world, 1)->name();
    EXPECT_TRUE(build.has_cuda);
    EXPECT_EQ(name, build.is_cuda_emulated ? "cuda-emulated" : "cuda");
  } catch (const base::Refusal& error) {
    const std::string message = error.what();
    EXPECT_FALSE(build.is_cuda_emulated);
    EXPECT_EQ(error.code(), base::ExitCode::usage);
    EXPECT_NE(message.find("--backend cpu"), std::string::npos) << message;
    const std::regex reason(build.has_cuda ? R"(rank 0: .*; driver \d+\.\d+, runtime [1-9])"
                                           : R"(built without CUDA.*--preset gpu)");
    EXPECT_TRUE(std::regex_search(message, reason)) << message;
  }
}

TEST(Backends, TestsRunOnTheBackendsThatTheProgramCanUse) {
  const mpi::Communicator world = mpi::everyone();
  for (const plan::BackendKind kind : {plan::BackendKind::cpu, plan::BackendKind::cuda}) {
    std::string name;
    try {
      name = make_backend(kind, world, 1)->name();
    } catch (const base::Refusal&) {
      continue;
    }
    EXPECT_TRUE(std::ranges::any_of(
        backend::backends_at_hand(),
        [&](const backend::BackendAtHand& at_hand) { return at_hand.name == name; }))
        << name;
  }
}

TEST(Backends, TheLibrariesAreNamed) {
  EXPECT_EQ(describe_backends().find("oneDNN "), 0u) << describe_backends();
}

}  // namespace
}  // namespace tetrarch::engine
