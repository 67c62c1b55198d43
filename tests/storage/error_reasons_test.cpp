// Counting the reasons for which sequences became error records.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/error_reasons.hpp"

#include "scratch.hpp"

namespace tetrarch::storage {
namespace {

using test::Scratch;

InputSet open(const std::string& path, const std::string& lines) {
  test::write_file(path, lines);
  return InputSet::open({path}, 50, 8);
}

const std::string good = "{\"id\": 1, \"tokens\": [1]}\n";

TEST(ErrorReasons, AreCountedWithoutTheirNumbers) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl";

  const InputSet inputs = open(
      path,
      good + "{\"id\": 2}\n{\"id\": 3, \"tokens\": [1, -17]}\n{\"id\": 4, \"tokens\": [-2]}\n");

  const auto reasons = error_reasons(inputs);
  ASSERT_EQ(reasons.size(), 2u);
  EXPECT_EQ(reasons[0].text, "the token at position 1 is -17 (expected an unsigned integer)");
  EXPECT_EQ(reasons[0].count, 2);
  EXPECT_EQ(reasons[0].first, 2);
  EXPECT_EQ(error_reasons(inputs, 3).front().count, 1);
  EXPECT_EQ(error_summary(inputs),
            "3 error records: the token at position 1 is -17 (expected an unsigned integer) (2, "
            "first " +
                path + ":3); tokens are missing (or input_ids, or text) (1, first " + path + ":2)");
}

TEST(ErrorReasons, OfSeveralStatusesStandInLinesOfTheirOwn) {
  const Scratch scratch;
  const std::string path = scratch / "a.jsonl";

  const InputSet inputs = open(path, good + "{\"id\": 2, \"tokens\": [77]}\n{\"id\": 3}\n");

  EXPECT_EQ(
      error_summary(inputs),
      "2 error records:\n  1 of status 2 (token id): token 77 at position 0, vocab_size is 50 "
      "(1, first " +
          path +
          ":2)\n  1 of status 5 (bad record): tokens are missing (or input_ids, or "
          "text) (1, first " +
          path + ":3)");
}

TEST(ErrorReasons, NothingIsSaidWhereNothingIsWrong) {
  const Scratch scratch;

  EXPECT_EQ(error_summary(open(scratch / "a.jsonl", good)), "");
}

}  // namespace
}  // namespace tetrarch::storage
