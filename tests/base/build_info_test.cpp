// build_info() is filled in.
// SPDX-License-Identifier: Apache-2.0
#include "base/build_info.hpp"

#include <regex>

#include <gtest/gtest.h>

namespace tetrarch::base {
namespace {

TEST(BuildInfo, NamesVersionCommitAndCompiler) {
  const BuildInfo& info = build_info();

  EXPECT_TRUE(std::regex_match(info.version, std::regex(R"(\d+\.\d+\.\d+)"))) << info.version;
  EXPECT_TRUE(std::regex_match(info.git_sha, std::regex("unknown|[0-9a-f]{7,40}"))) << info.git_sha;
  EXPECT_TRUE(std::regex_search(info.compiler, std::regex(R"(^\S+ \d+)"))) << info.compiler;
}

}  // namespace
}  // namespace tetrarch::base
