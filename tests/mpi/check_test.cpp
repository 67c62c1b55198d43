// Error codes of MPI become exceptions.
// SPDX-License-Identifier: Apache-2.0
#include "mpi/check.hpp"

#include <string>

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace tetrarch::mpi {
namespace {

TEST(Check, SuccessSaysNothing) {
  EXPECT_NO_THROW(check(MPI_SUCCESS, "MPI_Barrier"));
}

TEST(Check, AFailureNamesTheCallMpisTextAndThePlace) {
  try {
    check(MPI_ERR_RANK, "MPI_Send");
    ADD_FAILURE() << "nothing was thrown";
  } catch (const base::SystemError& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code(), base::ExitCode::communication);
    EXPECT_EQ(message.find("MPI_Send failed: "), 0u) << message;
    EXPECT_NE(message.find("nvalid rank"), std::string::npos) << message;
    EXPECT_NE(message.find("check_test.cpp:"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace tetrarch::mpi
