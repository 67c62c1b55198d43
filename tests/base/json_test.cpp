// Foreign JSON: what is taken, and what is refused before it can do harm.
// SPDX-License-Identifier: Apache-2.0
#include "base/json.hpp"

#include <gtest/gtest.h>

namespace tetrarch::base {
namespace {

Json parse(std::string_view text, int max_depth = 32) {
  return parse_json(text, "model.json", ExitCode::weights, max_depth);
}

/// The message with which `text` is refused, "" when it is not.
std::string refusal(std::string_view text, int max_depth = 32) {
  try {
    parse(text, max_depth);
  } catch (const UsageError& error) {
    EXPECT_EQ(error.code(), ExitCode::weights);
    return error.what();
  }
  ADD_FAILURE() << "taken: " << text.substr(0, 80);
  return {};
}

std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']');
}

TEST(Json, KeepsTheOrderOfKeys) {
  const Json json = parse(R"({"z": 1, "a": {"c": [1, 2.5, "x"], "b": null}})");

  EXPECT_EQ(json.dump(), R"({"z":1,"a":{"c":[1,2.5,"x"],"b":null}})");
}

TEST(Json, TheDeepestAllowedIsTakenAndOneMoreIsNot) {
  EXPECT_NO_THROW(parse(nested(4), 4));
  EXPECT_NE(refusal(nested(5), 4).find("nested deeper than 4"), std::string::npos);
  EXPECT_NE(refusal(R"({"a":{"b":{"c":1}}})", 2).find("nested deeper"), std::string::npos);
}

TEST(Json, AMillionBracketsAreRefusedWithoutRecursion) {
  EXPECT_NE(refusal(nested(1000000)).find("nested deeper"), std::string::npos);
  EXPECT_NE(refusal(std::string(1000000, '[')).find("nested deeper"), std::string::npos);
}

TEST(Json, BracketsInsideStringsAreNoDepth) {
  EXPECT_EQ(parse(R"(["[[[[", "\"[[[["])", 1).size(), 2u);
}

TEST(Json, AKeyMayNotStandTwiceInOneObject) {
  EXPECT_NE(refusal(R"({"a": 1, "b": 2, "a": 3})").find("\"a\" stands twice"), std::string::npos);
  EXPECT_NE(refusal(R"({"x": [{"k": 1, "k": 1}]})").find("\"k\" stands twice"), std::string::npos);
}

TEST(Json, AKeyMayStandInSeveralObjects) {
  EXPECT_NO_THROW(parse(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})"));
}

TEST(Json, WhatIsNoNumberIsRefused) {
  for (const char* text :
       {"NaN", "[NaN]", "Infinity", "-Infinity", "nan", "1e999", "01", "+1", ".5"})
    EXPECT_FALSE(refusal(text).empty()) << text;
}

TEST(Json, GarbageIsRefusedWithItsName) {
  const std::string bad_utf8 = "\"\xff\xfe\"", zeros(4, '\0');
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("{\"a\":1}x"), std::string("[1,]"),
        std::string("{'a':1}"), bad_utf8, zeros, std::string("// a remark\n1"), std::string("}{"),
        std::string("\"\\")}) {
    const std::string message = refusal(text);
    EXPECT_EQ(message.find("model.json: not valid JSON"), 0u) << message;
  }
}

}  // namespace
}  // namespace tetrarch::base
