/// The options of `run` as a plain struct; checked once and then constant.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plan/layout.hpp"

namespace tetrarch::plan {

enum class Pooling { none, last, mean };
/// Which checksums of the weights are checked. fast: of what each rank reads; full: of the file.
enum class VerifyMode { none, fast, full };
/// The detail of /timing in the results.
enum class TimingDetail { summary, phases, layers };
enum class BackendKind { automatic, cpu, cuda };
/// How the key `text` of JSONL inputs becomes tokens. bytes: the value of each byte is a token id.
enum class Tokenizer { none, bytes };

/// Which datasets the results hold.
struct Outputs {
  bool logprobs = true;
  bool topk = false;
  bool last_logits = false;
  bool hidden = false;
  bool kv = false;
  bool routing = false;
  bool experts = false;
  std::int64_t top_k_logprobs = 5;  // for `topk`: most likely next tokens at each position
  Pooling pooling = Pooling::none;  // for `hidden`
  /// For `hidden`, sorted: -1 = embed, 0 to L - 1 = after that layer, L = after the final norm.
  std::vector<std::int64_t> hidden_layers;
  bool operator==(const Outputs&) const = default;
};

/// What the options mean: `tetrarch run --help`.
struct RunConfig {
  std::string weights;              // path of weights.h5, or "synth:PRESET"
  std::vector<std::string> inputs;  // files or folders
  Tokenizer tokenizer = Tokenizer::none;
  std::string out;  // run folder
  GridRequest grid;
  BackendKind backend = BackendKind::automatic;
  std::string outputs = "logprobs";  // as written; resolve_outputs reads it
  std::int64_t top_k_logprobs = 5;
  std::string hidden_layers = "final";
  std::string hidden_pooling = "none";
  std::int64_t tokens_per_microbatch = 8192;
  std::int64_t chunk_tokens = 0;  // 0: as tokens_per_microbatch
  double capacity_factor = 0;     // 0: no token is dropped
  VerifyMode verify = VerifyMode::fast;
  TimingDetail timing = TimingDetail::phases;
  double stop_after_s = 0;  // 0: never
  bool dry_run = false;
  bool keep_parts = false;
  double commit_interval_s = 30;
  double progress_interval_s = 30;
  double watchdog_s = 300;  // 0: off
  bool allow_mixed = false;
  double peak_tflops = 0;  // 0: unknown, mfu is NaN
};

/// Parses the options that choose the outputs of this model. Throws Refusal(usage) with every
/// problem in one message; for an unknown name it gives the nearest valid one.
Outputs resolve_outputs(const RunConfig& config, const ModelSpec& spec);

}  // namespace tetrarch::plan
