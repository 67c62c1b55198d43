// The datasets that a run writes, and their fill values.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/results_layout.hpp"

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

  EXPECT_EQ(paths, (std::vector<std::string>{
                       "/hidden/embed", "/kv/00/k", "/kv/00/v", "/experts/00", "/hidden/00",
                       "/kv/01/k", "/kv/01/v", "/experts/01", "/hidden/01", "/hidden/final",
                       "/logprobs/token", "/logprobs/sum", "/logprobs/count", "/logprobs/is_greedy",
                       "/topk/ids", "/topk/logprobs", "/last_logits", "/routing/tokens_per_expert",
                       "/routing/dropped"}));
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

TEST(ResultsLayout, KeysAndValuesHaveAnAxisForHeads) {
  const plan::ModelSpec spec = small_spec();

  const DatasetPlan keys = plan_of(results_layout(all_outputs(spec), spec), "/kv/01/k");

  EXPECT_EQ(keys.dtype, DType::bf16);
  EXPECT_EQ(keys.per, Per::token);
  EXPECT_EQ(keys.row_bytes(), 4 * 8 * 2);
  EXPECT_EQ(keys.shape(7), (base::Shape{7, 4, 8}));
  EXPECT_EQ(keys.offset(7), (base::Shape{7, 0, 0}));
}

TEST(ResultsLayout, TopKHasAsManyColumnsAsAskedFor) {
  const plan::ModelSpec spec = small_spec();
  const auto layout = results_layout(all_outputs(spec), spec);

  EXPECT_EQ(plan_of(layout, "/topk/ids").shape(7), (base::Shape{7, 3}));
  EXPECT_EQ(plan_of(layout, "/topk/ids").dtype, DType::u32);
  EXPECT_EQ(plan_of(layout, "/topk/logprobs").shape(7), (base::Shape{7, 3}));
  EXPECT_EQ(plan_of(layout, "/topk/logprobs").dtype, DType::f32);
}

TEST(ResultsLayout, RoutingCountsHaveARowForEachLayerOfTheRun) {
  const plan::ModelSpec spec = small_spec();
  const auto layout = results_layout(all_outputs(spec), spec);
  const DatasetPlan counts = plan_of(layout, "/routing/tokens_per_expert");
  const DatasetPlan dropped = plan_of(layout, "/routing/dropped");

  EXPECT_EQ(counts.total_rows(100, 1000), 2);
  EXPECT_EQ(counts.shape(2), (base::Shape{2, 16}));
  EXPECT_EQ(dropped.total_rows(100, 1000), 2);
  EXPECT_EQ(dropped.shape(2), (base::Shape{2}));
  for (const DatasetPlan* plan : {&counts, &dropped}) {
    EXPECT_EQ(plan->per, Per::run);
    EXPECT_EQ(plan->dtype, DType::u64);
  }
}

TEST(ResultsLayout, AModelWithoutExpertsHasNoExpertDatasets) {
  plan::ModelSpec spec = small_spec();
  spec.is_moe = {false, false};
  spec.num_experts = spec.top_k = 0;

  const auto layout = results_layout(all_outputs(spec), spec);

  EXPECT_LT(find_dataset(layout, "/experts/00"), 0);
  EXPECT_LT(find_dataset(layout, "/routing/dropped"), 0);
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
  EXPECT_EQ(filled(plan_of(layout, "/kv/00/v")), 0u);
  EXPECT_EQ(filled(plan_of(layout, "/topk/ids")), 0xffffffffu);
  EXPECT_EQ(filled(plan_of(layout, "/topk/logprobs")), 0x7fc00000u);
}

TEST(ResultsLayout, SurvivesJson) {
  const plan::ModelSpec spec = small_spec();
  const auto layout = results_layout(all_outputs(spec), spec);

  const base::Json json = base::Json::parse(to_json(layout).dump());

  EXPECT_EQ(layout_from_json(json, "run.json"), layout);
  base::Json old = base::Json::parse(to_json(results_layout({}, spec)).dump());
  for (base::Json& dataset : old) {
    dataset.erase("rows");
    dataset.erase("inner");
  }
  EXPECT_EQ(layout_from_json(old, "run.json"), results_layout({}, spec));
  EXPECT_EQ(refusal_of([&] {
              layout_from_json({{{"path", "/x"}}}, "run.json");
            }).code,
            base::ExitCode::input);
}

TEST(ResultsLayout, ShapesThatContradictThemselvesAreRefused) {
  const plan::ModelSpec spec = small_spec();
  const base::Json good = to_json(results_layout(all_outputs(spec), spec));
  const auto code_with = [&](const std::string& path, const char* key, const base::Json& value) {
    base::Json json = good;
    for (base::Json& dataset : json)
      if (dataset["path"] == path) dataset[key] = value;
    return refusal_of([&] { layout_from_json(json, "run.json"); }).code;
  };

  EXPECT_EQ(code_with("/kv/00/k", "inner", 8), base::ExitCode::done);
  EXPECT_EQ(code_with("/kv/00/k", "inner", 5), base::ExitCode::input);
  EXPECT_EQ(code_with("/kv/00/k", "inner", -1), base::ExitCode::input);
  EXPECT_EQ(code_with("/topk/ids", "columns", 0), base::ExitCode::input);
  EXPECT_EQ(code_with("/topk/ids", "rows", 3), base::ExitCode::input);
  EXPECT_EQ(code_with("/routing/dropped", "dtype", "f32"), base::ExitCode::input);
  EXPECT_EQ(code_with("/routing/dropped", "rows", -2), base::ExitCode::input);
}

}  // namespace
}  // namespace tetrarch::storage
