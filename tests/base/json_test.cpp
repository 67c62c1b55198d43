// JSON of users' files: what is accepted, and what is refused.
// SPDX-License-Identifier: Apache-2.0
#include "base/json.hpp"

#include <gtest/gtest.h>

#include "base/text.hpp"

namespace tetrarch::base {
namespace {

Json parse(std::string_view text, int max_depth = 32) {
  return parse_json(text, "model.json", ExitCode::weights, max_depth);
}

/// The message of the error for `text`, "" when it is accepted.
std::string refusal(std::string_view text, int max_depth = 32) {
  try {
    parse(text, max_depth);
  } catch (const Refusal& error) {
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
  EXPECT_NE(refusal(R"({"a": 1, "b": 2, "a": 3})").find("\"a\" occurs twice"), std::string::npos);
  EXPECT_NE(refusal(R"({"x": [{"k": 1, "k": 1}]})").find("\"k\" occurs twice"), std::string::npos);
}

TEST(Json, ManyKeysTakeNoMoreThanTheirShare) {
  constexpr int num_keys = 400'000;  // comparing each key with all others would take an hour
  std::string text = "{";
  for (int i = 0; i < num_keys; ++i)
    text += "\"key" + std::to_string(i) + "\":0,";
  const Json json = parse(text + "\"x\":[1,{\"y\":2}]}");

  EXPECT_EQ(json.size(), num_keys + 1u);
  EXPECT_EQ(json.back().dump(), R"([1,{"y":2}])");
  EXPECT_NE(refusal(text + "\"key7\":0}").find("\"key7\" occurs twice"), std::string::npos);
}

TEST(Json, MoreValuesThanMemoryShouldHoldAreRefused) {
  std::string text = "[";
  for (int i = 0; i < 8'000'000; ++i)
    text += "0,";

  EXPECT_NE(refusal(text + "0]").find("more than 8000000 values"), std::string::npos);
}

TEST(Json, WhatIsRefusedIsShownPrintableAndShort) {
  for (const std::string& text :
       {std::string("{\"a\\nb\":1,\"a\\nb\":2}"), "{\"" + std::string(100'000, 'a') + "\x01",
        std::string("\"\xff\x1b[2J\"")}) {
    const std::string message = refusal(text);
    EXPECT_TRUE(is_printable(message)) << message;
    EXPECT_LT(message.size(), 400u) << message;
  }
}

TEST(Json, AWholeNumberIsTakenOnlyAsItStands) {
  EXPECT_EQ(whole_number(parse("7"), 0, 7), 7);
  EXPECT_EQ(whole_number(parse("-7"), -7, 7), -7);
  EXPECT_EQ(whole_number(parse("9223372036854775807"), 0, INT64_MAX), INT64_MAX);
  for (const char* text : {"8", "-1", "1.0", "1e3", "1e300", "9223372036854775808", "true", "null",
                           "\"7\"", "18446744073709551615"})
    EXPECT_THROW(whole_number(parse(text), 0, 7), Json::type_error) << text;
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
