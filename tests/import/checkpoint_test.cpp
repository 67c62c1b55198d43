// A checkpoint is refused if a tensor has two different values or is not where the index says.
// SPDX-License-Identifier: Apache-2.0
#include "import/checkpoint.hpp"

#include "safetensors_writer.hpp"

namespace tetrarch::hf {
namespace {

using base::ExitCode;
using test::is_refused;
using test::Scratch;

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    shard("one.safetensors", {{"a", {{4}}}});
    shard("two.safetensors", {{"b", {{4}, 8}}});
  }
  void shard(const std::string& name, const test::Tensors& tensors) {
    test::write_safetensors(scratch_ / name, tensors);
  }
  void index(const std::map<std::string, std::string>& map) {
    test::write_index(scratch_.folder(), map);
  }
  testing::AssertionResult refused(const std::vector<std::string>& words) {
    return is_refused(ExitCode::weights, words,
                      [&] { const Checkpoint checkpoint(scratch_.folder()); });
  }
  std::string remarks() {
    return fmt::format("{}", fmt::join(Checkpoint(scratch_.folder()).remarks(), "\n"));
  }

  const std::map<std::string, std::string> both_ = {{"a", "one.safetensors"},
                                                    {"b", "two.safetensors"}};
  const Scratch scratch_;
};

TEST_F(CheckpointTest, FindsTensorsOverItsShards) {
  index(both_);

  const Checkpoint checkpoint(scratch_.folder());
  float found = 0;
  checkpoint.read(*checkpoint.find("b"), 12, std::as_writable_bytes(std::span(&found, 1)));

  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(found, 11);
  EXPECT_EQ(checkpoint.find("c"), nullptr);
  EXPECT_TRUE(checkpoint.remarks().empty());
}

TEST_F(CheckpointTest, RefusesANameWithTwoValues) {
  index(both_);
  for (const test::Counted& other :
       {test::Counted{{4}, 1}, test::Counted{{2, 2}, 0}, test::Counted{{5}, 0}}) {
    shard("two.safetensors", {{"a", other}, {"b", {{4}}}});

    EXPECT_TRUE(refused({"\"a\"", "one.safetensors", "two.safetensors", "different values",
                         "the index names one.safetensors"}));
  }
}

TEST_F(CheckpointTest, TakesANameThatLiesTwiceWithEqualBytes) {
  index(both_);
  shard("two.safetensors", {{"a", {{4}}}, {"b", {{4}}}});

  EXPECT_EQ(Checkpoint(scratch_.folder()).names(), (std::vector<std::string>{"a", "b"}));
}

TEST_F(CheckpointTest, ComparesTensorsLargerThanWhatItReadsAtOnce) {
  index({{"a", "one.safetensors"}, {"b", "two.safetensors"}, {"c", "two.safetensors"}});
  const base::Shape large = {300'000};  // 1.2 MB
  shard("one.safetensors", {{"a", {large}}});
  shard("two.safetensors", {{"b", {large}}, {"c", {large, 1}}});
  const Checkpoint checkpoint(scratch_.folder());

  EXPECT_TRUE(checkpoint.are_equal(*checkpoint.find("a"), *checkpoint.find("b")));
  EXPECT_FALSE(checkpoint.are_equal(*checkpoint.find("a"), *checkpoint.find("c")));
}

TEST_F(CheckpointTest, RefusesAnIndexThatItsShardsContradict) {
  index({{"a", "one.safetensors"}, {"c", "two.safetensors"}, {"d", "two.safetensors"}});
  EXPECT_TRUE(refused({"2 problems", "\"c\"", "two.safetensors",
                       "but no file has a tensor of that name", "\"d\""}));

  index({{"a", "two.safetensors"}, {"b", "two.safetensors"}, {"x", "one.safetensors"}});
  EXPECT_TRUE(refused({"\"a\" in two.safetensors, but it is in one.safetensors"}));
}

TEST_F(CheckpointTest, NamesAllFilesThatAreCutOff) {
  index(both_);
  std::filesystem::resize_file(scratch_ / "one.safetensors", 70);
  EXPECT_TRUE(refused({"one.safetensors: tensor \"a\"", "cut off"}));

  std::filesystem::resize_file(scratch_ / "two.safetensors", 20);
  EXPECT_TRUE(refused({"2 problems", "one.safetensors", "two.safetensors", "cut off"}));
}

TEST_F(CheckpointTest, CountsWhatTheIndexDoesNotNameAndSaysSo) {
  index(both_);
  shard("two.safetensors", {{"b", {{4}}}, {"extra", {{1}}}});

  EXPECT_NE(Checkpoint(scratch_.folder()).find("extra"), nullptr);
  EXPECT_NE(remarks().find("1 tensors are in the files but not in the index"), std::string::npos)
      << remarks();
}

}  // namespace
}  // namespace tetrarch::hf
