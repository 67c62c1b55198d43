// The datasets that a run writes.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/results_layout.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/text.hpp"

namespace tetrarch::storage {
namespace {

using base::DType;
using Per = DatasetPlan::Per;

constexpr std::uint64_t nan_f32 = 0x7fc00000, nan_bf16 = 0x7fc0, nan_f64 = 0x7ff8000000000000;
constexpr std::uint64_t no_expert = 0xffff, no_token = 0xffffffff;

std::uint64_t nan_of(DType dtype) {
  return dtype == DType::bf16 ? nan_bf16 : dtype == DType::f64 ? nan_f64 : nan_f32;
}

std::string hidden_description(std::int64_t layer, const plan::ModelSpec& spec,
                               plan::Pooling pooling) {
  std::string what = layer < 0 ? "the embedding"
                     : layer == spec.num_layers
                         ? "the residual stream after the final norm"
                         : fmt::format("the residual stream after layer {}", layer);
  if (pooling == plan::Pooling::last) return what + ", at the last position";
  if (pooling == plan::Pooling::mean) return what + ", mean over the positions";
  return what + ", at each position";
}

DatasetPlan hidden(std::int64_t layer, const plan::Outputs& outputs, const plan::ModelSpec& spec) {
  const bool is_pooled = outputs.pooling != plan::Pooling::none;
  DatasetPlan plan;
  plan.path = layer < 0                  ? "/hidden/embed"
              : layer == spec.num_layers ? "/hidden/final"
                                         : numbered_path("hidden", layer);
  plan.dtype = is_pooled ? DType::f32 : spec.dtype;
  plan.per = is_pooled ? Per::sequence : Per::token;
  plan.columns = spec.hidden_size;
  plan.is_vector = false;
  plan.description = hidden_description(layer, spec, outputs.pooling);
  plan.fill = nan_of(plan.dtype);
  return plan;
}

DatasetPlan experts(std::int64_t layer, const plan::ModelSpec& spec) {
  return {
      numbered_path("experts", layer),
      DType::u16,
      Per::token,
      spec.top_k,
      false,
      fmt::format("experts chosen in layer {}, in the order of their router scores; 65535: none",
                  layer),
      "expert id",
      no_expert};
}

/// Keys (`which` = "k") or values ("v") of one layer.
DatasetPlan kv(std::int64_t layer, const char* which, const plan::ModelSpec& spec) {
  DatasetPlan plan;
  plan.path = fmt::format("{}/{}", numbered_path("kv", layer), which);
  plan.dtype = spec.dtype;
  plan.columns = spec.num_kv_heads * spec.head_size;
  plan.inner = spec.head_size;
  plan.is_vector = false;
  plan.description = fmt::format("{} of layer {} after RoPE, [token, kv head, dimension]",
                                 std::string_view(which) == "k" ? "keys" : "values", layer);
  return plan;
}

void add_topk(std::vector<DatasetPlan>& layout, std::int64_t top_k) {
  layout.push_back({"/topk/ids", DType::u32, Per::token, top_k, false,
                    "most likely next tokens after each position: log p descending, then lower id",
                    "token id", no_token});
  layout.push_back({"/topk/logprobs", DType::f32, Per::token, top_k, false,
                    "log p of the tokens of /topk/ids", "nat", nan_f32});
}

void add_routing(std::vector<DatasetPlan>& layout, const plan::ModelSpec& spec) {
  DatasetPlan counts{"/routing/tokens_per_expert",
                     DType::u64,
                     Per::run,
                     spec.num_experts,
                     false,
                     "copies of tokens that each layer sent to each expert",
                     "copies"};
  DatasetPlan dropped{"/routing/dropped",
                      DType::u64,
                      Per::run,
                      1,
                      true,
                      "copies of tokens beyond an expert's capacity, in each layer",
                      "copies"};
  for (DatasetPlan* plan : {&counts, &dropped}) {
    plan->rows = spec.num_layers;
    layout.push_back(*plan);
  }
}

void add_logprobs(std::vector<DatasetPlan>& layout) {
  layout.push_back({"/logprobs/token", DType::f32, Per::token, 1, true,
                    "log p(token at this position | those before it); NaN at position 0", "nat",
                    nan_f32});
  layout.push_back({"/logprobs/sum", DType::f64, Per::sequence, 1, true,
                    "sum over positions max(1, score_from) .. T-1, in order", "nat", nan_f64});
  layout.push_back(
      {"/logprobs/count", DType::u64, Per::sequence, 1, true, "positions in the sum", "tokens", 0});
  layout.push_back({"/logprobs/is_greedy", DType::u8, Per::sequence, 1, true,
                    "1 when each token of the sum was the most likely one", "", 0});
}

}  // namespace

std::int64_t DatasetPlan::total_rows(std::int64_t num_sequences, std::int64_t num_tokens) const {
  return per == Per::token ? num_tokens : per == Per::sequence ? num_sequences : rows;
}

base::Shape DatasetPlan::shape(std::int64_t num_rows) const {
  if (is_vector) return {num_rows};
  if (inner > 0) return {num_rows, columns / inner, inner};
  return {num_rows, columns};
}

base::Shape DatasetPlan::offset(std::int64_t row) const {
  base::Shape first(shape(row).size(), 0);
  first.front() = row;
  return first;
}

std::string numbered_path(std::string_view group, std::int64_t layer) {
  return fmt::format("/{}/{:02}", group, layer);
}

std::vector<DatasetPlan> results_layout(const plan::Outputs& outputs, const plan::ModelSpec& spec) {
  const auto has_hidden = [&](std::int64_t layer) {
    return outputs.hidden && std::ranges::count(outputs.hidden_layers, layer) > 0;
  };
  std::vector<DatasetPlan> layout;
  if (has_hidden(-1)) layout.push_back(hidden(-1, outputs, spec));
  for (std::int64_t layer = 0; layer < spec.num_layers; ++layer) {
    if (outputs.kv)
      for (const char* which : {"k", "v"})
        layout.push_back(kv(layer, which, spec));
    if (outputs.experts && spec.top_k > 0) layout.push_back(experts(layer, spec));
    if (has_hidden(layer)) layout.push_back(hidden(layer, outputs, spec));
  }
  if (has_hidden(spec.num_layers)) layout.push_back(hidden(spec.num_layers, outputs, spec));
  if (outputs.logprobs) add_logprobs(layout);
  if (outputs.topk) add_topk(layout, outputs.top_k_logprobs);
  if (outputs.last_logits)
    layout.push_back({"/last_logits", DType::f32, Per::sequence, spec.vocab_size, false,
                      "logits after the last position", "", nan_f32});
  if (outputs.routing && spec.top_k > 0) add_routing(layout, spec);
  return layout;
}

int find_dataset(const std::vector<DatasetPlan>& layout, std::string_view path) {
  const auto found = std::ranges::find(layout, path, &DatasetPlan::path);
  return found == layout.end() ? -1 : static_cast<int>(found - layout.begin());
}

namespace {

std::string_view name_of(Per per) {
  return per == Per::token ? "token" : per == Per::sequence ? "sequence" : "run";
}

Per per_from(const std::string& name) {
  return name == "token" ? Per::token : name == "sequence" ? Per::sequence : Per::run;
}

/// Whether the rows and axes of a dataset from run.json are consistent.
bool is_sensible(const DatasetPlan& plan) {
  const bool is_run = plan.per == Per::run;
  return plan.columns >= 1 && plan.rows >= 0 && plan.inner >= 0 &&
         (plan.inner == 0 || plan.columns % plan.inner == 0) &&
         (is_run ? plan.dtype == DType::u64 : plan.rows == 0);
}

}  // namespace

std::int64_t payload_bytes(const std::vector<DatasetPlan>& layout, std::int64_t num_sequences,
                           std::int64_t num_tokens) {
  std::int64_t bytes = 0;
  for (const DatasetPlan& plan : layout)
    bytes += plan.total_rows(num_sequences, num_tokens) * plan.row_bytes();
  return bytes;
}

base::Json to_json(const std::vector<DatasetPlan>& layout) {
  base::Json json = base::Json::array();
  for (const DatasetPlan& plan : layout) {
    json.push_back({{"path", plan.path},
                    {"dtype", base::name_of(plan.dtype)},
                    {"per", name_of(plan.per)},
                    {"columns", plan.columns},
                    {"is_vector", plan.is_vector},
                    {"description", plan.description},
                    {"units", plan.units},
                    {"fill", plan.fill},
                    {"rows", plan.rows},
                    {"inner", plan.inner}});
  }
  return json;
}

std::vector<DatasetPlan> layout_from_json(const base::Json& json, const std::string& where) {
  constexpr DType dtypes[] = {DType::f32, DType::bf16, DType::i32, DType::u32,
                              DType::u16, DType::u8,   DType::u64, DType::f64};
  constexpr std::int64_t most_elements = std::int64_t{1} << 32;  // of a row; also most rows
  std::vector<DatasetPlan> layout;
  try {
    for (const base::Json& item : json) {
      DatasetPlan plan;
      plan.path = item.at("path");
      const auto dtype =
          std::ranges::find(dtypes, item.at("dtype").get<std::string>(), base::name_of);
      plan.dtype = dtype == std::end(dtypes) ? DType::f32 : *dtype;
      plan.per = per_from(item.at("per"));
      plan.columns = base::whole_number(item.at("columns"), 1, most_elements);
      plan.is_vector = item.at("is_vector");
      plan.description = item.at("description");
      plan.units = item.at("units");
      plan.fill = static_cast<std::uint64_t>(base::whole_number(item.at("fill"), 0, INT64_MAX));
      if (item.contains("rows")) plan.rows = base::whole_number(item["rows"], 0, most_elements);
      if (item.contains("inner")) plan.inner = base::whole_number(item["inner"], 0, most_elements);
      if (dtype == std::end(dtypes) || !is_sensible(plan))
        throw base::Refusal(base::ExitCode::input,
                            fmt::format("{}: dataset {} has an unknown type or shape. Start "
                                        "again in another folder.",
                                        where, base::shown(plan.path)));
      layout.push_back(std::move(plan));
    }
  } catch (const base::Json::exception& error) {
    throw base::Refusal(base::ExitCode::input,
                        fmt::format("{}: the list of datasets cannot be read ({}). Start again "
                                    "in another folder.",
                                    where, base::shown(error.what(), 200)));
  }
  return layout;
}

void fill_rows(const DatasetPlan& dataset, std::int64_t rows, std::byte* to) {
  const auto size = static_cast<std::size_t>(base::size_of(dataset.dtype));
  const std::int64_t elements = rows * dataset.columns;
  for (std::int64_t i = 0; i < elements; ++i, to += size)
    std::memcpy(to, &dataset.fill, size);
}

}  // namespace tetrarch::storage
