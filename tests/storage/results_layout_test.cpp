// Which datasets a run writes, and their fill values.
// SPDX-License-Identifier: Apache-2.0
#include "storage/results_layout.hpp"

#include "base/json.hpp"
#include "run_fixture.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;
using Per = DatasetPlan::Per;

const DatasetPlan& plan_of(const std::vector<DatasetPlan>& layout, const std::string& path) {
  const int index = find_dataset(layout, path);
  if (index < 0) throw std::runtime_error(path);
  return layout[static_cast<std::size_t>(index)];
}

std::uint64_t filled(const DatasetPlan& plan) {
  std::uint64_t bits = 0;
  std::vector<std::byte> row(static_cast<std::size_t>(plan.row_bytes()));
  fill_rows(plan, 1, row.data());
  std::memcpy(&bits, row.data() + row.size() - base::size_of(plan.dtype),
              base::size_of(plan.dtype));
  return bits;
}

TEST(ResultsLayout, ListsEveryDatasetInTheOrderOfTheForwardPass) {
  const plan::ModelSpec spec = small_spec();

  std::vector<std::string> paths;
  for (const DatasetPlan& plan : results_layout(all_outputs(spec), spec))
    paths.push_back(plan.path);

  EXPECT_EQ(paths, (std::vector<std::string>{"/hidden/embed", "/experts/00", "/hidden/00",
                                             "/experts/01", "/hidden/01", "/hidden/final",
                                             "/logprobs/token", "/logprobs/sum", "/logprobs/count",
                                             "/logprobs/is_greedy", "/last_logits"}));
}

TEST(ResultsLayout, HiddenStatesAreTheModelsTypePerTokenOrFloatsPerSequence) {
  const plan::ModelSpec spec = small_spec();
  plan::Outputs outputs = all_outputs(spec);

  const DatasetPlan unpooled = plan_of(results_layout(outputs, spec), "/hidden/01");
  outputs.pooling = plan::Pooling::mean;
  const DatasetPlan pooled = plan_of(results_layout(outputs, spec), "/hidden/01");

  EXPECT_EQ(unpooled.dtype, DType::bf16);
  EXPECT_EQ(unpooled.per, Per::token);
  EXPECT_EQ(unpooled.shape(7), (base::Shape{7, 64}));
  EXPECT_EQ(pooled.dtype, DType::f32);
  EXPECT_EQ(pooled.per, Per::sequence);
}

TEST(ResultsLayout, OneExpertATokenIsStillAMatrix) {
  plan::ModelSpec spec = small_spec();
  spec.top_k = 1;

  const auto layout = results_layout(all_outputs(spec), spec);

  EXPECT_EQ(plan_of(layout, "/experts/00").shape(3), (base::Shape{3, 1}));
  EXPECT_EQ(plan_of(layout, "/logprobs/token").shape(3), (base::Shape{3}));
}

TEST(ResultsLayout, FailedSequencesHoldTheBitsOfTheContract) {
  const plan::ModelSpec spec = small_spec();

  const auto layout = results_layout(all_outputs(spec), spec);

  EXPECT_EQ(filled(plan_of(layout, "/logprobs/token")), 0x7fc00000u);
  EXPECT_EQ(filled(plan_of(layout, "/logprobs/sum")), 0x7ff8000000000000u);
  EXPECT_EQ(filled(plan_of(layout, "/logprobs/count")), 0u);
  EXPECT_EQ(filled(plan_of(layout, "/logprobs/is_greedy")), 0u);
  EXPECT_EQ(filled(plan_of(layout, "/hidden/00")), 0x7fc0u);
  EXPECT_EQ(filled(plan_of(layout, "/last_logits")), 0x7fc00000u);
  EXPECT_EQ(filled(plan_of(layout, "/experts/00")), 0xffffu);
}

TEST(ResultsLayout, SurvivesJson) {
  const plan::ModelSpec spec = small_spec();
  const auto layout = results_layout(all_outputs(spec), spec);

  const base::Json json = base::Json::parse(to_json(layout).dump());

  EXPECT_EQ(layout_from_json(json, "run.json"), layout);
  EXPECT_EQ(refusal_of([&] {
              layout_from_json({{{"path", "/x"}}}, "run.json");
            }).code,
            base::ExitCode::input);
}

}  // namespace
}  // namespace tetrarch::storage
