/// Merges the part files of a run folder into one results.h5, in input order. All data is copied.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "plan/layout.hpp"
#include "storage/inputs/inputs_file.hpp"
#include "storage/run/results_layout.hpp"
#include "storage/run/run_folder.hpp"

namespace tetrarch::storage {

/// The root attributes of results.h5 that the run has to give. The others are taken from the run
/// folder and the build.
struct ResultsHeader {
  std::string command_line;
  std::string config_json;                // config of the model, as in weights.h5
  std::string options_json;               // every option: value and origin
  std::string weights_xxh3, inputs_xxh3;  // 16 hex digits
  plan::Grid grid;
  std::string backend;  // "cpu"
  std::string dtype;    // "bf16"
  bool reproducible = true;
};

/// Times and sizes of the attempt that finishes the run; NaN if unknown. The attributes of /timing
/// are derived from them. There, wall_seconds is the sum over all attempts; for attempts that were
/// killed, it counts what their parts have recorded.
struct TimingSummary {
  static constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
  int attempt = 0;  // the attempt that wall_seconds is of
  double ttft_seconds = unknown, wall_seconds = unknown, startup_seconds = unknown;
  double model_flops = unknown;  // of all ok sequences
  double peak_tflops = unknown;  // of one rank
  int num_ranks = 1;
  double joules = unknown;
  std::vector<std::pair<std::string, double>> predicted;  // "predicted_..." and its value
};

/// What merge() does if sequences are missing.
enum class Missing { refused, allowed };

struct MergeReport {
  std::string path;
  std::int64_t num_ok = 0, num_failed = 0, num_missing = 0;
  std::int64_t ok_tokens = 0;  // prompt tokens of ok sequences; attribute `tokens` of /timing
  std::int64_t bytes = 0;      // of the file
};

/// Bytes of memory that merging needs: lists of all sequences, and buffers.
std::int64_t merge_bytes(std::int64_t num_sequences, const std::vector<DatasetPlan>& layout);

/// Writes results.h5 in input order: under a temporary name, closed with every return checked, read
/// back, synced, renamed. Needs at most merge_bytes() of memory. Its attribute status is "complete"
/// if no sequence is missing, else "incomplete". `rows` are appended to those of the parts in
/// /timing/phases.
///
/// With Missing::refused, throws Refusal(resources) that names missing sequences: a part was
/// removed or damaged after it was committed, and the run has to be resumed. Throws
/// SystemError(resources) if writing fails.
MergeReport merge(RunFolder& folder, const InputSet& inputs, const std::vector<DatasetPlan>& layout,
                  const ResultsHeader& header, const TimingSummary& timing,
                  std::span<const TimingRow> rows, Missing missing, base::Log& log);

/// The facts that merge_run_folder() needs later. They belong in RunSettings::facts unchanged.
base::Json merge_facts(const InputSet& inputs, const std::vector<DatasetPlan>& layout,
                       const ResultsHeader& header, const plan::ModelSpec& spec);

/// Paths of the input files that the facts of a run.json name. A path that is not found below the
/// run's working folder is taken relative to the current folder. `where` names run.json in
/// messages. Throws Refusal(input) if the facts name no files.
std::vector<std::string> input_paths_of(const base::Json& facts, const std::string& where);
/// Opens the inputs that the facts of a run.json name. Throws Refusal(input) if their identity
/// has changed.
InputSet reopen_inputs(const base::Json& facts, const std::string& where);

/// Whether the parts are removed when the results are complete.
enum class Parts { keep, remove };

/// The subcommand `merge RUN_DIR`. Needs only the run folder and the input files, which must not
/// have changed. Results that are already complete are not written again. Throws as merge().
MergeReport merge_run_folder(const std::string& run_dir, Parts parts, base::Log& log);

}  // namespace tetrarch::storage
