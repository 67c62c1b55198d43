// Members of a JSON object, found without parsing their values.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/json_members.hpp"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace tetrarch::storage {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs members_of(std::string_view line, std::string& problem) {
  JsonMembers members(line);
  Pairs found;
  for (JsonMember member; members.next(member);) {
    EXPECT_EQ(line.substr(member.at, member.value.size()), member.value);
    found.emplace_back(member.key, member.value);
  }
  problem = members.problem();
  return found;
}

TEST(JsonMembers, AreFoundWithTheirValues) {
  std::string problem;

  EXPECT_EQ(
      members_of(R"( { "a" : 1 ,"b":[1,{"c":"]"}], "c":{"d":[]} , "":"x\"}" } )", problem),
      (Pairs{{"a", "1"}, {"b", R"([1,{"c":"]"}])"}, {"c", R"({"d":[]})"}, {"", R"("x\"}")"}}));
  EXPECT_EQ(problem, "");
  EXPECT_EQ(members_of(" {  } ", problem), Pairs{});
  EXPECT_EQ(problem, "");
}

TEST(JsonMembers, WhatIsNoObjectIsTold) {
  for (const char* line :
       {"{", "{\"a\"", "{\"a\":", "{\"a\": 1", "{\"a\": [", "{\"a\": [1", "{\"a\": {\"b\": 1]}",
        "{\"a\": 1,}", "{\"a\": [1,]}", "{\"a\": {,}}", "{\"a\": 1}}", "{\"a\": \"x", "{1: 2}",
        "{\"a\" 1}", "{\"a\": ?}", "{\"a\": \"\\"}) {
    std::string problem;
    members_of(line, problem);
    EXPECT_TRUE(problem.starts_with("not JSON at byte ")) << line << " " << problem;
  }
}

}  // namespace
}  // namespace tetrarch::storage
