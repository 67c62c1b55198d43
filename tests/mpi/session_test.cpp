// What a Session reports while MPI runs; the main() of the test program has made it.
// SPDX-License-Identifier: Apache-2.0
#include "mpi/session.hpp"

#include <gtest/gtest.h>

namespace tetrarch::mpi {
namespace {

TEST(Session, IsActiveAndMayBeCalledFromThreadsInTurn) {
  int initialized = 0, provided = 0;
  MPI_Initialized(&initialized);
  MPI_Query_thread(&provided);

  EXPECT_TRUE(Session::is_active());
  EXPECT_NE(initialized, 0);
  EXPECT_GE(provided, MPI_THREAD_SERIALIZED);
  EXPECT_EQ(Session::has_threads(), provided == MPI_THREAD_MULTIPLE);
}

TEST(Session, TheLibraryNamesItselfInOneShortLine) {
  const std::string version = Session::library_version();

  EXPECT_FALSE(version.empty());
  EXPECT_EQ(version.find_first_of(",\n"), std::string::npos) << version;
}

}  // namespace
}  // namespace tetrarch::mpi
