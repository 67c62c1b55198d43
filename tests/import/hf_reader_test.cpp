// Defaults that are used become remarks; two spellings of one key must agree.
// SPDX-License-Identifier: Apache-2.0
#include "import/hf_reader.hpp"

#include "base/json.hpp"
#include "plan/support.hpp"

namespace tetrarch::hf {
namespace {

using plan::Problems;

using base::Json;

class HfReaderTest : public testing::Test {
 protected:
  std::string problem() {
    return plan::test::refusal(base::ExitCode::weights,
                               [&] { problems_.refuse(base::ExitCode::weights, "c"); });
  }

  const Json json_ = {{"size", 3}, {"none", nullptr}, {"width", 3.0}, {"other", 4}, {"name", "x"}};
  Problems problems_;
  std::vector<std::string> remarks_;
  HfReader reader_{json_, "a.", problems_, remarks_};
};

TEST_F(HfReaderTest, WhatIsGivenIsReadWithoutARemark) {
  EXPECT_EQ(reader_.integer_by_default("size", 7), 3);
  EXPECT_EQ(reader_.real_by_default("width", 7), 3);
  EXPECT_EQ(reader_.text_by_default("name", "y"), "x");
  EXPECT_TRUE(remarks_.empty());
}

TEST_F(HfReaderTest, ADefaultIsSaidWithItsValueAndReason) {
  EXPECT_EQ(reader_.integer_by_default("depth", 7), 7);
  EXPECT_EQ(reader_.real_by_default("none", 1e-5, "as the class has it"), 1e-5);
  EXPECT_FALSE(reader_.boolean_by_default("is_on", false));

  EXPECT_EQ(remarks_, (std::vector<std::string>{
                          "a.depth is not given: 7 is used, the default of its class.",
                          "a.none is null: 1e-05 is used, as the class has it.",
                          "a.is_on is not given: false is used, the default of its class."}));
}

TEST_F(HfReaderTest, SpellingsOfOneKeyMustAgree) {
  EXPECT_EQ(reader_.agreed({"none", "size", "width"}), "size");
  EXPECT_EQ(reader_.agreed({"absent", "none"}), "absent");
  EXPECT_TRUE(problems_.empty());

  reader_.agreed({"size", "other"});
  plan::test::expect_says(problem(), "a.size = 3 and a.other = 4 contradict each other");
}

}  // namespace
}  // namespace tetrarch::hf
