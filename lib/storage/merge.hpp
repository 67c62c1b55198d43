/// Parts of a run folder become one results.h5 in input order, a real copy.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "plan/layout.hpp"
#include "storage/inputs_file.hpp"
#include "storage/results_layout.hpp"
#include "storage/run_folder.hpp"

namespace tetrarch::storage {

/// Root attributes of results.h5 that the run knows; the others come from folder and build.
struct ResultsHeader {
  std::string command_line;
  std::string config_json;                // of the model, as in weights.h5
  std::string options_json;               // every option: value and origin
  std::string weights_xxh3, inputs_xxh3;  // 16 hex digits
  plan::Grid grid;
  std::string backend;  // "cpu"
  std::string dtype;    // "bf16"
  bool reproducible = true;
};

/// What the finishing attempt knows of its time; what is not known stays NaN. The rates of /timing
/// are derived from it: wall_seconds there sums over all attempts, those that were killed as far as
/// their parts tell.
struct TimingSummary {
  static constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
  int attempt = 0;  // whose wall_seconds these are
  double ttft_seconds = unknown, wall_seconds = unknown, startup_seconds = unknown;
  double model_flops = unknown;  // of all ok sequences
  double peak_tflops = unknown;  // of one rank
  int num_ranks = 1;
  double joules = unknown;
  std::vector<std::pair<std::string, double>> predicted;  // "predicted_..." and its value
};

enum class Missing { refused, allowed };

struct MergeReport {
  std::string path;
  std::int64_t num_ok = 0, num_failed = 0, num_missing = 0;
  std::int64_t ok_tokens = 0;  // prompt tokens of ok sequences; attribute `tokens` of /timing
  std::int64_t bytes = 0;      // of the file
};

/// Memory that merging takes: lists of all sequences, and buffers.
std::int64_t merge_bytes(std::int64_t num_sequences, const std::vector<DatasetPlan>& layout);

/// Writes results.h5 (temporary name, closed with checks, synced, renamed) in input order, in at
/// most merge_bytes() of memory. Status is "complete" when no
/// sequence is missing, else "incomplete", which Missing::refused turns into a
/// UsageError(resources) that names them: a part has vanished or been damaged since it was
/// committed, and the run has to be resumed. `rows` follow those of the parts in /timing/phases.
MergeReport merge(RunFolder& folder, const InputSet& inputs, const std::vector<DatasetPlan>& layout,
                  const ResultsHeader& header, const TimingSummary& timing,
                  std::span<const TimingRow> rows, Missing missing, base::Log& log);

/// What merge_run_folder() needs later; goes into RunSettings::facts as they are.
base::Json merge_facts(const InputSet& inputs, const std::vector<DatasetPlan>& layout,
                       const ResultsHeader& header, const plan::ModelSpec& spec);

/// Where the inputs lie now that facts of run.json name; throws UsageError(input) when it names
/// none.
std::vector<std::string> input_paths_of(const base::Json& facts, const std::string& where);
/// The inputs that facts of run.json name; throws UsageError(input) when they are not the same any
/// more. `where` names run.json in messages.
InputSet reopen_inputs(const base::Json& facts, const std::string& where);

enum class Parts { keep, remove };

/// The subcommand `merge RUN_DIR`: everything comes from run.json and the input files, which must
/// be the same. Parts are removed when results are complete and `parts` says so.
MergeReport merge_run_folder(const std::string& run_dir, Parts parts, base::Log& log);

}  // namespace tetrarch::storage
