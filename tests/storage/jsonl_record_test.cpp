// One line of JSONL: the values that are taken from it, and the problem text for each mistake.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/jsonl_record.hpp"

#include <gtest/gtest.h>

namespace tetrarch::storage {
namespace {

using Tokens = std::vector<std::uint32_t>;

JsonlRecord parsed(std::string_view line) {
  JsonlRecord record;
  parse_record(line, record);
  return record;
}

std::uint64_t number_of(const JsonlRecord& record) {
  const auto* number = std::get_if<std::uint64_t>(&record.id);
  return number ? *number : 999;
}

std::string text_of(const JsonlRecord& record) {
  const auto* text = std::get_if<std::string>(&record.id);
  return text ? *text : "no text";
}

TEST(JsonlRecord, HasIdTokensAndScoreFrom) {
  const JsonlRecord record = parsed(R"({"id": 7, "tokens": [1, 0, 4294967295], "score_from": 2})");

  EXPECT_EQ(record.problem, "");
  EXPECT_EQ(number_of(record), 7u);
  EXPECT_EQ(record.tokens, (Tokens{1, 0, 4294967295}));
  EXPECT_EQ(record.score_from, 2u);
  EXPECT_FALSE(record.is_text);
}

TEST(JsonlRecord, TheOrderOfKeysIsFreeAndOthersArePassedOver) {
  const JsonlRecord record = parsed(
      R"({"meta": {"id": "no", "tokens": [-1], "deep": [[[{}]]]}, "tokens": [5], "x": 1.5,
          "y": null, "id": "naïve", "z": [1, "id", true]})");

  EXPECT_EQ(record.problem, "");
  EXPECT_EQ(text_of(record), "naïve");
  EXPECT_EQ(record.tokens, Tokens{5});
}

TEST(JsonlRecord, BlanksInAnArrayDoNotMatterAndItsNumbersAreThoseOfJson) {
  EXPECT_EQ(parsed("{\"id\": 7, \"tokens\": [ 1\t,0 ,\r12 ]}").tokens, (Tokens{1, 0, 12}));
  EXPECT_EQ(parsed("{\"id\": 7, \"tokens\": [ ]}").problem, "");
  for (const char* array : {"[01]", "[1 2]", "[1,]", "[,1]", "[+1]", "[0x1]", "[1a]", "[1.]"}) {
    const JsonlRecord record = parsed(std::string("{\"id\": 7, \"tokens\": ") + array + "}");
    EXPECT_TRUE(record.problem.starts_with("not JSON at byte ")) << array << " " << record.problem;
    EXPECT_TRUE(record.tokens.empty()) << array;
  }
}

TEST(JsonlRecord, TheLargestIdIsTaken) {
  EXPECT_EQ(number_of(parsed(R"({"id": 18446744073709551615, "tokens": []})")),
            18446744073709551615u);
}

TEST(JsonlRecord, ATextIsItsBytes) {
  const JsonlRecord record = parsed(R"({"id": 1, "text": "aé\n\u00e9"})");

  EXPECT_TRUE(record.is_text);
  EXPECT_EQ(record.tokens, (Tokens{0x61, 0xc3, 0xa9, 0x0a, 0xc3, 0xa9}));
}

TEST(JsonlRecord, TokensWinOverText) {
  for (const char* line : {R"({"id": 1, "text": "abc", "tokens": [9]})",
                           R"({"id": 1, "tokens": [9], "text": "abc"})"}) {
    const JsonlRecord record = parsed(line);

    EXPECT_FALSE(record.is_text);
    EXPECT_EQ(record.tokens, Tokens{9}) << line;
  }
}

TEST(JsonlRecord, ATextThatIsNotNeededMayBeAnything) {
  for (const char* text : {"5", "[\"a\"]", "null", "\"a\", \"text\": {}"}) {
    const std::string pair = std::string("\"text\": ") + text;
    EXPECT_EQ(parsed("{\"id\": 1, " + pair + ", \"tokens\": [9]}").tokens, Tokens{9}) << text;
    EXPECT_EQ(parsed("{\"id\": 1, \"tokens\": [9], " + pair + "}").tokens, Tokens{9}) << text;
  }
}

TEST(JsonlRecord, NullIsAsIfTheKeyWereAbsent) {
  const JsonlRecord record =
      parsed(R"({"id": null, "id": 7, "tokens": null, "text": "a", "score_from": null})");

  EXPECT_EQ(record.problem, "");
  EXPECT_EQ(number_of(record), 7u);
  EXPECT_EQ(record.tokens, Tokens{97});
  EXPECT_EQ(record.score_from, 0u);
}

TEST(JsonlRecord, InputIdsStandForTokens) {
  for (const char* line :
       {R"({"id": 7, "input_ids": [5, 6], "attention_mask": [1, 1]})",
        R"({"id": 7, "input_ids": [5, 6], "attention_mask": [true, 1.0, null, "0"]})",
        R"({"id": 7, "input_ids": [5, 6], "attention_mask": "none"})",
        R"({"id": 7, "tokens": [5, 6], "attention_mask": [1, 0]})",
        R"({"id": 7, "input_ids": [5, 6], "tokens": [5, 6]})",
        R"({"id": 7, "tokens": [5, 6], "input_ids": [5, 6], "text": "a"})",
        R"({"id": 7, "tokens": null, "input_ids": [5, 6]})",
        R"({"id": 7, "tokens": [5, 6], "input_ids": null})",
        R"({"id": 7, "input\u005fids": [5, 6]})"}) {
    const JsonlRecord record = parsed(line);

    EXPECT_EQ(record.problem, "") << line;
    EXPECT_FALSE(record.is_text) << line;
    EXPECT_EQ(record.tokens, (Tokens{5, 6})) << line;
  }
}

TEST(JsonlRecord, ALineMayBeWithoutId) {
  for (const char* line : {R"({"tokens": [1]})", R"({"id": null, "tokens": [1]})"}) {
    const JsonlRecord record = parsed(line);

    EXPECT_EQ(record.problem, "") << line;
    EXPECT_TRUE(std::holds_alternative<std::monostate>(record.id)) << line;
    EXPECT_EQ(record.tokens, Tokens{1}) << line;
  }
}

TEST(JsonlRecord, ValuesOfOtherKeysSpoilNothing) {
  const std::string huge(400, '9');
  for (const std::string& value : std::vector<std::string>{"NaN",
                                                           "-Infinity",
                                                           "1e999",
                                                           "-0.0e-999",
                                                           huge,
                                                           "True",
                                                           "0x1f",
                                                           "\"\xff\xc0\"",
                                                           "\"\\ud800\"",
                                                           "\"\\u12\"",
                                                           "\"\\x\"",
                                                           "\"a\tb\"",
                                                           "\"}\\\"{\"",
                                                           "[[[NaN]], {\"\xff\": 1e999}]",
                                                           "{\"tokens\": [-1], \"id\": {}}",
                                                           "{}",
                                                           "[]",
                                                           "[{}, []]",
                                                           "1, \"x\": 2, \"x\": [\"x\"]",
                                                           "1, \"x\xff\": 1",
                                                           "1, \"\\ud800\": 1",
                                                           "1, \"\": 1"}) {
    const JsonlRecord record = parsed("{\"x\": " + value + ", \"id\": 7, \"y\": " + value +
                                      ", \"tokens\": [9], \"z\": " + value + "}");

    EXPECT_EQ(record.problem, "") << value;
    EXPECT_EQ(number_of(record), 7u) << value;
    EXPECT_EQ(record.tokens, Tokens{9}) << value;
  }
}

TEST(JsonlRecord, NothingStaysOfTheRecordBefore) {
  JsonlRecord record;
  parse_record(R"({"id": "a", "text": "abc", "score_from": 2, "tokens": 1})", record);
  parse_record(R"({"id": 2, "tokens": []})", record);

  EXPECT_EQ(record.problem, "");
  EXPECT_EQ(number_of(record), 2u);
  EXPECT_TRUE(record.tokens.empty());
  EXPECT_EQ(record.score_from, 0u);
  EXPECT_FALSE(record.is_text);
}

/// A line with one fault; whether its id (7) can be read; the problem text.
struct Broken {
  std::string line;
  bool has_id;
  const char* problem;
};

TEST(JsonlRecord, EachMistakeIsToldAndTheIdIsTakenWhereItCanBeRead) {
  const std::string long_id(max_id_bytes + 1, 'x');
  const std::vector<Broken> cases = {
      {"{\"id\": 7, \"tokens\": [1, 2", true, "not JSON at byte 26: unexpected end of input"},
      {"not JSON", false, "not JSON at byte 2"},
      {"{\"id\": 7, \"tokens\": [1]} {}", true, "not JSON at byte 26"},
      {"{\"id\": 7, \"tokens\": [1], \"x\": }", true, "not JSON at byte 31: expected a value"},
      {"{\"id\": 7, \"tokens\": [1], \"x\": [1 2]}", true,
       "not JSON at byte 34: expected a , or ]"},
      {"{\"id\": 7, \"tokens\": [1], \"x\": [1}}", true, "not JSON at byte 33: expected a , or ]"},
      {"{\"id\": 7, \"tokens\": [1], \"x\": {\"a\" 1}}", true, "expected a : behind the key"},
      {"{\"id\": 7, \"tokens\": [1], \"x\": {a: 1}}", true, "expected a key in quotes"},
      {"{\"id\": 7, \"tokens\": [1],}", true, "not JSON at byte 25: expected a key in quotes"},
      {"{\"id\": 7, \"tokens\": [1] \"x\": 1}", true, "not JSON at byte 25: expected a , or }"},
      {"{\"id\": 7, \"tokens\": [1], \"x\": \"a\\\"}", true, "unexpected end of input"},
      {"{\"id\": 7, \"text\": \"\xff\xfe\"}", true, "not UTF-8 at byte 20"},
      {"{\"id\": 7, \"text\": \"\xc0\xaf\"}", true, "not UTF-8 at byte 20"},
      {"{\"id\": 7, \"text\": \"\xed\xa0\x80\"}", true, "not UTF-8 at byte"},
      {"[1, 2]", false, "not an object"},
      {"[{\"id\": 7, \"tokens\": [1]}]", false, "not an object"},
      {"\"text\"", false, "not an object"},
      {"17", false, "not an object"},
      {"null", false, "not an object"},
      {"{}", false, "tokens are missing (or input_ids, or text)"},
      {R"({"id": 7})", true, "tokens are missing (or input_ids, or text)"},
      {R"({"id": -1, "tokens": [1]})", false, "id is -1 (expected an unsigned integer or a text)"},
      {R"({"id": 7.0, "tokens": [1]})", false, "id is 7.0 (expected"},
      {R"({"id": 18446744073709551616, "tokens": [1]})", false, "id is 18446744073709551616 "},
      {R"({"id": 7, "tokens": null})", true, "tokens are missing (or input_ids, or text)"},
      {R"({"id": 7, "tokens": [1], "input_ids": [2]})", true, "tokens and input_ids differ"},
      {R"({"id": 7, "input_ids": [1, 2], "tokens": [1]})", true, "tokens and input_ids differ"},
      {R"({"id": 7, "input_ids": [[1, 2]]})", true,
       "the token at position 0 of input_ids is an array (expected an unsigned integer)"},
      {R"({"id": 7, "tokens": [1], "input_ids": "1"})", true, "input_ids is a text (expected an"},
      {R"({"id": 7, "input_ids": [1], "input_ids": [1]})", true, "the key input_ids stands twice"},
      {R"({"id": 7, "tokens": [1, NaN]})", true, "not JSON at byte 25: invalid literal"},
      {R"({"id": 7, "tokens": [1e999]})", true, "number overflow parsing '1e999'"},
      {R"({"id": 7, "text": "\ud800"})", true, "not JSON at byte 26: invalid string: surrogate"},
      {R"({"id": 7, "text": "a", "text": "b"})", true, "the key text stands twice"},
      {R"({"id": true, "tokens": [1]})", false, "id is true (expected"},
      {R"({"id": [7], "tokens": [1]})", false, "id is an array (expected"},
      {R"({"id": {"id": 7}, "tokens": [1]})", false, "id is an object (expected"},
      {R"({"id": "a\u0000b", "tokens": [1]})", false, "id holds a zero byte"},
      {"{\"id\": \"" + long_id + "\", \"tokens\": [1]}", false, "id has 1025 bytes (expected"},
      {R"({"id": 7, "tokens": [1], "id": 8})", false, "the key id stands twice"},
      {R"({"id": 7, "tokens": [1], "tokens": [2]})", true, "the key tokens stands twice"},
      {R"({"tokens": [1, 1.0], "id": 7})", true, "the token at position 1 is 1.0 (expected an un"},
      {R"({"tokens": [1, 2, 1e2], "id": 7})", true, "the token at position 2 is 1e2 (expected"},
      {R"({"tokens": [-3], "id": 7})", true, "the token at position 0 is -3 (expected"},
      {R"({"tokens": ["1"], "id": 7})", true, "the token at position 0 is a text (expected"},
      {R"({"tokens": [1, null], "id": 7})", true, "the token at position 1 is null (expected"},
      {R"({"tokens": [false], "id": 7})", true, "the token at position 0 is false (expected"},
      {R"({"tokens": [[1]], "id": 7})", true, "the token at position 0 is an array (expected"},
      {R"({"tokens": [{"a": 1}], "id": 7})", true, "the token at position 0 is an object"},
      {R"({"tokens": [0, 4294967296], "id": 7})", true,
       "the token at position 1 is 4294967296 (expected at most 4294967295)"},
      {R"({"tokens": [99999999999999999999], "id": 7})", true,
       "the token at position 0 is 99999999999999999999 (expected"},
      {R"({"tokens": "1 2", "id": 7})", true, "tokens is a text (expected an array"},
      {R"({"tokens": 1, "id": 7})", true, "tokens is 1 (expected an array"},
      {R"({"tokens": {}, "id": 7})", true, "tokens is an object (expected an array"},
      {R"({"text": 1, "id": 7})", true, "text is 1 (expected a text)"},
      {R"({"text": ["a"], "id": 7})", true, "text is an array (expected a text)"},
      {R"({"id": 7, "tokens": [1], "score_from": -1})", true, "score_from is -1 (expected"},
      {R"({"id": 7, "tokens": [1], "score_from": 0.5})", true, "score_from is 0.5 (expected"},
      {R"({"id": 7, "tokens": [1], "score_from": "1"})", true, "score_from is a text (expected"},
      {R"({"id": 7, "tokens": [1], "score_from": 5000000000})", true,
       "score_from is 5000000000 (expected at most 4294967295)"},
      {R"({"id": 7, "input_ids": [5, 6, 0, 0], "attention_mask": [1, 1, 0, 0]})", true,
       "input_ids hold padding (attention_mask has 2 zeros"},
      {R"({"id": 7, "attention_mask": [0, 1, 1], "input_ids": [0, 6, 7]})", true,
       "input_ids hold padding (attention_mask has 1 zero;"},
      {R"({"id": 7, "attention_mask": [true, false, false], "input_ids": [5, 0, 0]})", true,
       "input_ids hold padding (attention_mask has 2 zeros;"},
      {R"({"id": 7, "attention_mask": [1.0, 0.0], "input_ids": [5, 0]})", true,
       "input_ids hold padding (attention_mask has 1 zero;"}};

  for (const Broken& each : cases) {
    const JsonlRecord record = parsed(each.line);

    EXPECT_NE(record.problem.find(each.problem), std::string::npos)
        << each.line << "\n"
        << record.problem << "\nexpected " << each.problem;
    EXPECT_EQ(number_of(record), each.has_id ? 7u : 999u) << each.line;
    EXPECT_EQ(text_of(record), "no text") << each.line;
    EXPECT_TRUE(record.tokens.empty()) << each.line;
    EXPECT_LE(record.problem.size(), 200u) << record.problem;
  }
}

TEST(JsonlRecord, AMessageStaysShortWhateverTheLineHolds) {
  const std::string digits(1 << 20, '9');

  EXPECT_LE(parsed("{\"tokens\": [" + digits + "]}").problem.size(), 200u);
  EXPECT_LE(parsed("{\"tokens\": [0." + digits + "]}").problem.size(), 200u);
  EXPECT_LE(parsed("{\"id\": \"" + digits).problem.size(), 200u);
}

TEST(JsonlRecord, DeepNestingIsNoRecursion) {
  const std::size_t deep = 5 << 20;
  const JsonlRecord whole = parsed("{\"id\": 7, \"x\": " + std::string(deep, '[') +
                                   std::string(deep, ']') + ", \"tokens\": [1]}");
  const JsonlRecord open = parsed(std::string(deep, '['));

  EXPECT_EQ(whole.problem, "");
  EXPECT_EQ(whole.tokens, Tokens{1});
  EXPECT_NE(open.problem, "");
}

}  // namespace
}  // namespace tetrarch::storage
