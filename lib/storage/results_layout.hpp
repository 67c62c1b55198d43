/// Which datasets a run writes, of what type and shape, and what stands where a sequence failed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.hpp"
#include "base/json_fwd.hpp"
#include "base/shape.hpp"
#include "plan/run_config.hpp"

namespace tetrarch::storage {

/// What became of a sequence; the numbers stand in /sequences/status.
enum class SequenceStatus : std::uint8_t {
  ok = 0,
  empty = 1,
  bad_token = 2,
  too_long = 3,
  not_finite = 4,
  bad_record = 5,
  not_done = 255,  // only in results whose status is "incomplete"
};
std::string_view name_of(SequenceStatus status);

struct DatasetPlan {
  /// What has a row: a token, a sequence, or (u64 counts of the whole run) a layer.
  enum class Per { token, sequence, run };

  std::string path;  // "/logprobs/token"
  base::DType dtype = base::DType::f32;
  Per per = Per::token;
  std::int64_t columns = 1;  // elements of a row
  bool is_vector = true;     // one axis; otherwise [rows, columns], also with one column
  std::string description, units;
  std::uint64_t fill = 0;  // the bits of an element of a failed sequence, in the low bytes
  std::int64_t rows = 0;   // of a dataset per run
  std::int64_t inner = 0;  // > 0: three axes, [rows, columns / inner, inner]

  std::int64_t row_bytes() const { return columns * base::size_of(dtype); }
  /// Rows in results of so many sequences and tokens.
  std::int64_t total_rows(std::int64_t num_sequences, std::int64_t num_tokens) const;
  /// Of the dataset, or of a hyperslab of it, with so many rows.
  base::Shape shape(std::int64_t num_rows) const;
  /// Where a hyperslab begins: 0 on all axes but the first.
  base::Shape offset(std::int64_t row) const;
  bool operator==(const DatasetPlan&) const = default;
};

/// In the order in which a microbatch produces them: /hidden/embed, then for each layer /kv/NN/k,
/// /kv/NN/v, /experts/NN and /hidden/NN, then /hidden/final, /logprobs/token, sum, count,
/// is_greedy, /topk/ids, /topk/logprobs, /last_logits, /routing/tokens_per_expert, dropped.
/// Unpooled /hidden: the model's dtype, per token; pooled: f32, per sequence. /experts and /routing
/// are there for dense layers too: fill values, zeros; a model of dense layers alone has neither.
std::vector<DatasetPlan> results_layout(const plan::Outputs& outputs, const plan::ModelSpec& spec);

/// Index of a path in the layout, -1 where it is not.
int find_dataset(const std::vector<DatasetPlan>& layout, std::string_view path);
/// "/hidden/03"
std::string numbered_path(std::string_view group, std::int64_t layer);

/// For run.json, so that a run folder can be merged without the run's command.
base::Json to_json(const std::vector<DatasetPlan>& layout);
std::vector<DatasetPlan> layout_from_json(const base::Json& json, const std::string& where);

/// `rows` rows of the fill value.
void fill_rows(const DatasetPlan& dataset, std::int64_t rows, std::byte* to);

}  // namespace tetrarch::storage
