/// The datasets that a run writes: type, shape, and fill value for sequences that failed.
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

/// One dataset of results.h5 and of part files.
struct DatasetPlan {
  /// What a row belongs to: a token, a sequence, or (run: u64 counts of the whole run) a layer.
  enum class Per { token, sequence, run };

  std::string path;  // "/logprobs/token"
  base::DType dtype = base::DType::f32;
  Per per = Per::token;
  std::int64_t columns = 1;  // elements of a row
  bool is_vector = true;     // shape [rows]; if false [rows, columns], also with one column
  std::string description, units;
  std::uint64_t fill = 0;  // bits of each element of failed sequences, in the low bytes
  std::int64_t rows = 0;   // number of rows of a dataset per run, else 0
  std::int64_t inner = 0;  // > 0: three axes, [rows, columns / inner, inner]

  std::int64_t row_bytes() const { return columns * base::size_of(dtype); }
  /// Number of rows in results of that many sequences and tokens.
  std::int64_t total_rows(std::int64_t num_sequences, std::int64_t num_tokens) const;
  /// Shape of the dataset, or of a hyperslab of it, with that many rows.
  base::Shape shape(std::int64_t num_rows) const;
  /// Offset of a hyperslab that begins at `row`; 0 on all axes but the first.
  base::Shape offset(std::int64_t row) const;
  bool operator==(const DatasetPlan&) const = default;
};

/// The datasets for these outputs, in the order in which a microbatch produces them: /hidden/embed;
/// for each layer /kv/NN/k, /kv/NN/v, /experts/NN, /hidden/NN; /hidden/final; /logprobs/token, sum,
/// count, is_greedy; /topk/ids, logprobs; /last_logits; /routing/tokens_per_expert, dropped.
///
/// /hidden has a row per token in the model's dtype; if pooled, a row per sequence in f32. In
/// models with dense and MoE layers, /experts of a dense layer has fill values and /routing has
/// zeros. A model without MoE layers has neither.
std::vector<DatasetPlan> results_layout(const plan::Outputs& outputs, const plan::ModelSpec& spec);

/// Bytes of data in all datasets of `layout` for that many sequences and tokens.
std::int64_t payload_bytes(const std::vector<DatasetPlan>& layout, std::int64_t num_sequences,
                           std::int64_t num_tokens);
/// Index of the dataset with that path in the layout; -1 if there is none.
int find_dataset(const std::vector<DatasetPlan>& layout, std::string_view path);
/// "/GROUP/NN" with the layer in two digits, such as "/hidden/03".
std::string numbered_path(std::string_view group, std::int64_t layer);

/// The layout as it is kept in run.json, so that a run folder can be merged without the run's
/// command line. layout_from_json throws Refusal(input); `where` names run.json in messages.
base::Json to_json(const std::vector<DatasetPlan>& layout);
std::vector<DatasetPlan> layout_from_json(const base::Json& json, const std::string& where);

/// Writes `rows` rows of fill values to `to`.
void fill_rows(const DatasetPlan& dataset, std::int64_t rows, std::byte* to);

}  // namespace tetrarch::storage
