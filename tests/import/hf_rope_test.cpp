// RoPE is given by two dictionaries and one key beside them. What contradicts another is refused,
// and what is not used gets a remark.
// SPDX-License-Identifier: Apache-2.0
#include "import/hf_rope.hpp"

#include "base/json.hpp"
#include "plan/support.hpp"

namespace tetrarch::hf {
namespace {

using plan::ModelSpec;
using plan::Problems;
using plan::RopeType;

using base::Json;
using plan::test::expect_says;

struct Read {
  ModelSpec spec;
  std::string remarks;
  std::string problem;  // "": none
};

/// Reads RoPE with max_position_embeddings = 80 and a default theta of 10000.
Read read(const Json& config) {
  Read result;
  Problems problems;
  std::vector<std::string> remarks;
  HfReader root(config, "", problems, remarks);
  result.spec.max_position = 80;
  read_hugging_face_rope(root, 10000, result.spec);
  for (const std::string& remark : remarks)
    result.remarks += remark + "\n";
  try {
    problems.refuse(base::ExitCode::weights, "c");
  } catch (const base::Refusal& error) {
    result.problem = error.what();
  }
  return result;
}

Json yarn(double factor) {
  return {{"rope_type", "yarn"}, {"factor", factor}, {"original_max_position_embeddings", 64}};
}

const Json plain = {{"rope_type", "default"}, {"rope_theta", 1e6}};

TEST(HfRope, ScalingBesideDefaultParametersIsTakenAndKeepsTheirTheta) {
  const Read both = read({{"rope_scaling", yarn(4)}, {"rope_parameters", plain}});
  Json scaling = yarn(4);
  scaling["rope_theta"] = 1e6;
  const Read meant = read({{"rope_parameters", scaling}});

  EXPECT_EQ(both.problem, "");
  EXPECT_EQ(both.spec, meant.spec);
  EXPECT_EQ(both.spec.rope_type, RopeType::yarn);
  EXPECT_EQ(both.spec.rope_theta, 1e6);
  expect_says(both.remarks, "rope_scaling = {\"rope_type\":\"yarn\"");
}

TEST(HfRope, ThetaMayStandAtAnyPlaceButWithOneValue) {
  for (const Json& config : {Json{{"rope_theta", 1e6}}, Json{{"rope_parameters", plain}},
                             Json{{"rope_scaling", plain}, {"rope_theta", 1000000}},
                             Json{{"rope_scaling", yarn(4)}, {"rope_theta", 1e6}}}) {
    const Read found = read(config);
    EXPECT_EQ(found.spec.rope_theta, 1e6) << config;
    EXPECT_EQ(found.problem, "");
  }
  expect_says(read({{"rope_parameters", plain}, {"rope_theta", 10000}}).problem,
              "rope_theta = 10000 and rope_parameters.rope_theta = 1000000.0 contradict");
  Json scaling = yarn(4);
  scaling["rope_theta"] = 5e5;
  expect_says(read({{"rope_parameters", plain}, {"rope_scaling", scaling}}).problem,
              "rope_scaling.rope_theta = 500000.0 and rope_parameters.rope_theta = 1000000.0");
}

TEST(HfRope, AThetaThatNoFileGaveIsSaid) {
  for (const Json& config : {Json::object(), Json{{"rope_scaling", nullptr}},
                             Json{{"rope_scaling", yarn(4)}}, Json{{"rope_theta", nullptr}}}) {
    const Read found = read(config);

    EXPECT_EQ(found.spec.rope_theta, 10000) << config;
    expect_says(found.remarks, "10000 is used, the default of its class.");
  }
}

TEST(HfRope, TypesThatDifferAreRefused) {
  Json linear = yarn(4);
  linear["type"] = "linear";
  expect_says(read({{"rope_scaling", linear}}).problem,
              "rope_scaling.rope_type = \"yarn\" and rope_scaling.type = \"linear\" contradict");
  expect_says(read({{"rope_scaling", plain}, {"rope_parameters", yarn(4)}}).problem,
              "rope_scaling.rope_type = \"default\" and rope_parameters.rope_type = \"yarn\"");
  expect_says(
      read({{"rope_scaling", {{"type", "linear"}, {"factor", 4}}}, {"rope_parameters", yarn(4)}})
          .problem,
      "contradict");
}

TEST(HfRope, AFactorWithoutATypeIsRefused) {
  expect_says(read({{"rope_scaling", {{"factor", 4.0}}}}).problem,
              "rope_scaling.factor = 4.0 is given, but the type of RoPE is default");
  EXPECT_EQ(read({{"rope_scaling", {{"factor", 1.0}}}}).problem, "");
}

TEST(HfRope, YarnReachesFactorTimesTheOriginalPositions) {
  const Read card = read({{"rope_scaling", yarn(4)}});
  const Read shorter = read({{"rope_scaling", yarn(1.125)}});
  const Read equal = read({{"rope_scaling", yarn(1.25)}});
  const Read no_length = read({{"rope_scaling", {{"type", "yarn"}, {"factor", 2.0}}}});
  const Read no_factor =
      read({{"rope_scaling", {{"type", "yarn"}, {"original_max_position_embeddings", 64}}}});

  EXPECT_EQ(card.spec.max_position, 256);
  expect_says(card.remarks, "max_position is 256: YaRN's factor 4 times 64 positions");
  EXPECT_EQ(shorter.spec.max_position, 80);
  expect_says(shorter.remarks, "max_position is 80 (max_position_embeddings), although");
  EXPECT_EQ(equal.spec.max_position, 80);
  EXPECT_EQ(equal.remarks.find("max_position"), std::string::npos) << equal.remarks;
  EXPECT_EQ(no_length.spec.rope_scaling.orig_max, 80);
  EXPECT_EQ(no_length.spec.max_position, 160);
  expect_says(no_length.remarks, "original_max_position_embeddings is not given: 80 is used");
  EXPECT_EQ(no_factor.spec.rope_scaling.factor, 1.25);
  EXPECT_EQ(no_factor.spec.max_position, 80);
  expect_says(no_factor.remarks, "rope_scaling.factor is not given: 1.25 is used");
}

TEST(HfRope, OtherTypesKeepTheirLimitAndSayHowFarTheyReach) {
  const Read linear = read({{"rope_scaling", {{"type", "linear"}, {"factor", 2.5}}}});
  const Read llama = read({{"rope_scaling",
                            {{"rope_type", "llama3"},
                             {"factor", 8},
                             {"low_freq_factor", 1},
                             {"high_freq_factor", 4},
                             {"original_max_position_embeddings", 64}}}});

  EXPECT_EQ(linear.spec.max_position, 80);
  expect_says(linear.remarks, "although RoPE's factor 2.5 may reach 200");
  EXPECT_EQ(llama.spec.max_position, 80);
  expect_says(llama.remarks, "although RoPE's factor 8 may reach 512");
}

TEST(HfRope, DictionariesOfOtherKindsAreRefused) {
  expect_says(read({{"rope_scaling", "yarn"}, {"rope_parameters", plain}}).problem,
              "rope_scaling is \"yarn\" (expected an object)");
  expect_says(read({{"rope_scaling", yarn(4)}, {"rope_parameters", 3}}).problem,
              "rope_parameters is 3 (expected an object)");
  Json many;
  for (int i = 0; i < 2000; ++i)
    many[std::to_string(i)] = i;
  expect_says(read({{"rope_scaling", many}, {"rope_parameters", many}}).problem, "2000 keys");
  const Json huge = {
      {"type", "yarn"}, {"factor", 1e300}, {"original_max_position_embeddings", 1 << 30}};
  EXPECT_EQ(read({{"rope_scaling", huge}}).spec.max_position, 80);
}

}  // namespace
}  // namespace tetrarch::hf
