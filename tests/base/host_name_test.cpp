// The name of the machine is a line without blanks.
// SPDX-License-Identifier: Apache-2.0
#include "base/host_name.hpp"

#include <gtest/gtest.h>

namespace tetrarch::base {
namespace {

TEST(HostName, IsAWord) {
  const std::string name = host_name();

  EXPECT_FALSE(name.empty());
  EXPECT_EQ(name.find_first_of(" \t\r\n"), std::string::npos);
}

}  // namespace
}  // namespace tetrarch::base
