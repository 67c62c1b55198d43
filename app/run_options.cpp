// The options of `run`, and their translation into a RunConfig.
// SPDX-License-Identifier: Apache-2.0
#include "subcommands.hpp"

namespace tetrarch::app {
namespace {

constexpr double most_ranks = 1 << 20;
constexpr double most_seconds = 1e9;
constexpr double most_vocabulary = 1u << 31;

std::vector<OptionSpec> file_options() {
  return {
      {.name = "weights",
       .placeholder = "W.h5|synth:PRESET",
       .help = "file of the model's weights; synth:PRESET makes a random model",
       .is_required = true},
      {.name = "inputs",
       .placeholder = "FILE|FOLDER",
       .help =
           "file or folder of token sequences (HDF5 or JSONL); may be repeated, the order is kept",
       .is_required = true,
       .is_repeatable = true},
      {.name = "tokenizer",
       .kind = Kind::choice,
       .placeholder = "none|bytes",
       .fallback = "none",
       .help =
           "how the key \"text\" of JSONL inputs becomes tokens; bytes: one token for each byte"},
      {.name = "out",
       .placeholder = "RUN_DIR",
       .help = "run folder; created if it does not exist, resumed if it is of an earlier run",
       .is_required = true},
      {.name = "keep-parts",
       .kind = Kind::flag,
       .fallback = "false",
       .help = "keep RUN_DIR/parts after results.h5 is written"},
      {.name = "verify",
       .kind = Kind::choice,
       .placeholder = "none|fast|full",
       .fallback = "fast",
       .help = "which checksums of the weights are checked: of what each rank reads (fast), of the "
               "whole file (full)"},
  };
}

std::vector<OptionSpec> grid_options() {
  const auto size = [](const char* name, const char* help) {
    return OptionSpec{.name = name,
                      .kind = Kind::integer,
                      .placeholder = "N",
                      .help = help,
                      .min = 1,
                      .max = most_ranks};
  };
  return {
      size("ep",
           "expert-parallel ranks; sizes that are not given are chosen, and the log says why"),
      size("tp", "tensor-parallel ranks"),
      size("pp", "pipeline stages"),
      size("dp", "copies of the model (instances) that share the inputs"),
      {.name = "backend",
       .kind = Kind::choice,
       .placeholder = "auto|cpu|cuda",
       .fallback = "auto",
       .help = "the backend that computes"},
      {.name = "tokens-per-microbatch",
       .kind = Kind::integer,
       .placeholder = "N",
       .fallback = "8192",
       .help = "most tokens of one microbatch of one instance, counted over all its EP ranks; does "
               "not change the results unless --capacity-factor is set",
       .min = 1,
       .max = 1u << 31},
      {.name = "chunk-tokens",
       .kind = Kind::integer,
       .placeholder = "C",
       .help = "a sequence of more than C tokens passes the layers in chunks of C tokens (default: "
               "--tokens-per-microbatch); does not change the results",
       .min = 1,
       .max = 1u << 31},
      {.name = "capacity-factor",
       .kind = Kind::number,
       .placeholder = "X",
       .fallback = "0",
       .help = "an expert takes at most X times the mean number of copies of tokens; further "
               "copies are dropped. 0: no copy is dropped",
       .max = 1e6},
  };
}

std::vector<OptionSpec> output_options() {
  return {
      {.name = "outputs",
       .placeholder = "LIST",
       .fallback = "logprobs",
       .help = "comma-separated list of logprobs, topk, last_logits, hidden, kv, routing, experts"},
      {.name = "top-k-logprobs",
       .kind = Kind::integer,
       .placeholder = "K",
       .fallback = "5",
       .help = "for output topk: number of most likely next tokens at each position, at most the "
               "size of the vocabulary",
       .min = 1,
       .max = most_vocabulary},
      {.name = "hidden-layers",
       .placeholder = "LIST",
       .fallback = "final",
       .help = "for output hidden: comma-separated list of final, embed, all, or layer numbers"},
      {.name = "hidden-pooling",
       .kind = Kind::choice,
       .placeholder = "none|last|mean",
       .fallback = "none",
       .help = "for output hidden: the row of every position (none), of the last position, or the "
               "mean over all positions"},
      {.name = "timing",
       .kind = Kind::choice,
       .placeholder = "summary|phases|layers",
       .fallback = "phases",
       .help = "detail of /timing in the results; with layers, ranks wait for each other before "
               "each exchange, so that waiting and transfer are timed separately"},
      {.name = "peak-tflops",
       .kind = Kind::number,
       .placeholder = "X",
       .fallback = "0",
       .help = "peak speed of one rank in TFLOP/s, from which mfu is computed; 0: unknown"},
  };
}

std::vector<OptionSpec> course_options() {
  const auto seconds = [](const char* name, const char* fallback, const char* help) {
    return OptionSpec{.name = name,
                      .kind = Kind::number,
                      .placeholder = "SECONDS",
                      .fallback = fallback,
                      .help = help,
                      .max = most_seconds};
  };
  return {
      seconds("stop-after", "0", "stop early after this many seconds, with exit code 85; 0: never"),
      seconds(
          "commit-interval", "30",
          "commit finished work once it is this many seconds old, or once 64 MiB have gathered"),
      seconds("progress-interval", "30", "seconds between two progress lines of the log"),
      seconds("watchdog", "300",
              "end the job when a rank, and all ranks that it waits for, have made no progress for "
              "this many seconds; 0: never"),
      {.name = "dry-run",
       .kind = Kind::flag,
       .fallback = "false",
       .help = "check and plan everything; load, compute and write nothing"},
      {.name = "allow-mixed",
       .kind = Kind::flag,
       .fallback = "false",
       .help = "resume with another build or processor, or mix kinds of processors in one run; the "
               "results then say reproducible = 0"},
  };
}

/// Options of later versions. Other tools may already name them; this version accepts at most one
/// value of each.
std::vector<OptionSpec> later_options() {
  return {
      {.name = "trace", .placeholder = "DIR", .only = ""},
      {.name = "reproducible", .kind = Kind::flag, .fallback = "true", .only = "true"},
  };
}

std::optional<int> grid_size(const Settings& settings, const char* name) {
  const auto size = settings.optional_integer(name);
  return size ? std::optional(static_cast<int>(*size)) : std::nullopt;
}

template <class Enum>
Enum choice(const std::string& text, std::initializer_list<std::pair<const char*, Enum>> names) {
  for (const auto& [name, value] : names)
    if (text == name) return value;
  throw base::InternalError("a choice of the options' table has no meaning: " + text);
}

plan::RunConfig to_run_config(const Settings& settings) {
  plan::RunConfig config;
  config.weights = settings.text("weights");
  config.inputs = settings.texts("inputs");
  config.out = settings.text("out");
  config.grid = {.dp = grid_size(settings, "dp"),
                 .pp = grid_size(settings, "pp"),
                 .ep = grid_size(settings, "ep"),
                 .tp = grid_size(settings, "tp")};
  using plan::BackendKind, plan::VerifyMode, plan::TimingDetail;
  config.backend = choice<BackendKind>(
      settings.text("backend"),
      {{"auto", BackendKind::automatic}, {"cpu", BackendKind::cpu}, {"cuda", BackendKind::cuda}});
  config.tokenizer =
      choice<plan::Tokenizer>(settings.text("tokenizer"),
                              {{"none", plan::Tokenizer::none}, {"bytes", plan::Tokenizer::bytes}});
  config.outputs = settings.text("outputs");
  config.top_k_logprobs = settings.integer("top-k-logprobs");
  config.hidden_layers = settings.text("hidden-layers");
  config.hidden_pooling = settings.text("hidden-pooling");
  config.tokens_per_microbatch = settings.integer("tokens-per-microbatch");
  config.chunk_tokens = settings.optional_integer("chunk-tokens").value_or(0);
  config.capacity_factor = settings.number("capacity-factor");
  config.verify = choice<VerifyMode>(
      settings.text("verify"),
      {{"none", VerifyMode::none}, {"fast", VerifyMode::fast}, {"full", VerifyMode::full}});
  config.timing = choice<TimingDetail>(settings.text("timing"), {{"summary", TimingDetail::summary},
                                                                 {"phases", TimingDetail::phases},
                                                                 {"layers", TimingDetail::layers}});
  config.stop_after_s = settings.number("stop-after");
  config.dry_run = settings.flag("dry-run");
  config.keep_parts = settings.flag("keep-parts");
  config.commit_interval_s = settings.number("commit-interval");
  config.progress_interval_s = settings.number("progress-interval");
  config.watchdog_s = settings.number("watchdog");
  config.allow_mixed = settings.flag("allow-mixed");
  config.peak_tflops = settings.number("peak-tflops");
  return config;
}

}  // namespace

Subcommand run_subcommand() {
  Subcommand subcommand{
      .name = "run",
      .summary = "prefill: pass whole input files through the model once",
      .usage = "mpirun -np RANKS tetrarch run --weights W.h5 --inputs FILE --out RUN_DIR [options]",
      .word = "",
      .options = {},
      .notes =
          "Example\n"
          "  mpirun -np 4 tetrarch run --weights demo/weights.h5 --inputs demo/inputs.h5 \\\n"
          "         --out demo/run --outputs logprobs,hidden --hidden-pooling mean\n\n"
          "Results are in RUN_DIR/results.h5, in input order; the log is in RUN_DIR/log.txt.\n"
          "The same command again computes what is left. A file RUN_DIR/stop ends the run early.\n"
          "Exit codes: 0 done, 2 usage, 3 inputs, 4 weights, 5 space or memory, 6 a lost rank,\n"
          "8 done with error records, 85 stopped early (run the same command again).",
      .act = [](const Settings& settings, int argc, char** argv) {
        return run(to_run_config(settings), settings, argc, argv);
      }};
  for (const auto& group :
       {file_options(), grid_options(), output_options(), course_options(), later_options()})
    subcommand.options.insert(subcommand.options.end(), group.begin(), group.end());
  return subcommand;
}

}  // namespace tetrarch::app
