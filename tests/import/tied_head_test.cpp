// The head is tied or untied as config.json and the file both say, or as the user asks.
// SPDX-License-Identifier: Apache-2.0
#include "import/tied_head.hpp"

#include "safetensors_writer.hpp"

namespace tetrarch::hf {
namespace {

using test::Tensors;

enum class Head { none, equal, other };
constexpr std::optional<bool> not_asked = std::nullopt;

class TiedHead : public testing::Test {
 protected:
  bool decide(Head head, bool config_says, std::optional<bool> asked) {
    Tensors tensors = {{"model.embed_tokens.weight", {{6, 4}}}};
    if (head != Head::none) tensors["lm_head.weight"] = {{6, 4}, head == Head::other ? 1.f : 0.f};
    test::write_safetensors(scratch_ / "model.safetensors", tensors);
    remarks_.clear();
    return is_head_tied(Checkpoint(scratch_.folder()), config_says, asked, remarks_);
  }
  testing::AssertionResult refused(Head head, bool config_says, std::optional<bool> asked,
                                   const std::vector<std::string>& words) {
    return test::is_refused(base::ExitCode::weights, words,
                            [&] { decide(head, config_says, asked); });
  }
  bool says(const std::string& words) {
    return remarks_.size() == 1 && remarks_[0].find(words) != std::string::npos;
  }

  const test::Scratch scratch_;
  std::vector<std::string> remarks_;
};

TEST_F(TiedHead, WhereConfigAndFileAgreeNothingIsSaid) {
  EXPECT_TRUE(decide(Head::none, true, not_asked));
  EXPECT_TRUE(remarks_.empty());
  EXPECT_FALSE(decide(Head::other, false, not_asked));
  EXPECT_FALSE(decide(Head::equal, false, not_asked));
  EXPECT_TRUE(remarks_.empty());
}

TEST_F(TiedHead, AnEqualHeadIsTiedAndSaid) {
  EXPECT_TRUE(decide(Head::equal, true, not_asked));
  EXPECT_TRUE(says("lm_head.weight equals model.embed_tokens.weight"));
}

TEST_F(TiedHead, AnotherHeadIsRefusedWithBothWaysOut) {
  EXPECT_TRUE(refused(Head::other, true, not_asked, {"differs", "--tied no", "--tied yes"}));
  EXPECT_FALSE(decide(Head::other, true, false));
  EXPECT_TRUE(says("because --tied no asks"));
  EXPECT_TRUE(decide(Head::other, true, true));
  EXPECT_TRUE(says("left out although it differs"));
}

TEST_F(TiedHead, AMissingHeadIsRefusedWithTheWayOut) {
  EXPECT_TRUE(refused(Head::none, false, not_asked, {"has no lm_head.weight", "--tied yes"}));
  EXPECT_TRUE(decide(Head::none, false, true));
  EXPECT_TRUE(says("because --tied yes asks"));
  EXPECT_TRUE(
      refused(Head::none, false, false, {"has no lm_head.weight, but --tied no needs one"}));
  EXPECT_TRUE(refused(Head::none, true, false, {"has no lm_head.weight, but --tied no needs one"}));
}

TEST_F(TiedHead, ATiedFileMayHaveTheHeadAlone) {
  test::write_safetensors(scratch_ / "model.safetensors", {{"lm_head.weight", {{6, 4}}}});

  EXPECT_TRUE(is_head_tied(Checkpoint(scratch_.folder()), true, not_asked, remarks_));
  EXPECT_TRUE(says("model.embed_tokens.weight is missing"));
}

}  // namespace
}  // namespace tetrarch::hf
