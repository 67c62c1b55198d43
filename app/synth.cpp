// `tetrarch synth`: writes a random model and random inputs, reproducible from a seed.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.hpp"
#include "plan/model_spec.hpp"
#include "storage/inputs/synthesize_inputs.hpp"
#include "storage/weights/synthesize_weights.hpp"
#include "subcommands.hpp"

namespace tetrarch::app {
namespace {

constexpr double largest_size = 1u << 31;

/// An option that sets a size of the model, and the field that it sets.
struct Size {
  const char* name;
  std::int64_t plan::ModelSpec::*member;
  const char* help;
};
constexpr Size sizes[] = {
    {"layers", &plan::ModelSpec::num_layers, "number of layers"},
    {"hidden", &plan::ModelSpec::hidden_size, "width of the residual stream"},
    {"heads", &plan::ModelSpec::num_heads, "number of query heads"},
    {"kv-heads", &plan::ModelSpec::num_kv_heads,
     "number of key and value heads (default the preset's where it divides --heads, else --heads)"},
    {"head-dim", &plan::ModelSpec::head_size,
     "elements of a head (default hidden / heads when one of the two is given)"},
    {"experts", &plan::ModelSpec::num_experts, "number of experts of a layer"},
    {"top-k", &plan::ModelSpec::top_k, "number of experts of a token"},
    {"expert-ffn", &plan::ModelSpec::expert_ffn, "inner width of an expert"},
    {"vocab", &plan::ModelSpec::vocab_size, "number of tokens in the vocabulary"},
};

/// Adds a problem when there is no preset and a size is missing that has no default.
void check_sizes_given(const Settings& settings, plan::Problems& problems) {
  if (settings.has("preset")) return;
  std::vector<std::string> missing;
  for (const Size& size : sizes) {
    const std::string name = size.name;
    if (name != "kv-heads" && name != "head-dim" && !settings.has(name))
      missing.push_back("--" + name);
  }
  if (!missing.empty())
    problems.add(
        "no preset is given, and these sizes are missing: {}. Give --preset ({}), or all sizes.",
        fmt::join(missing, ", "), fmt::join(plan::preset_names(), ", "));
}

void check_lengths(const Settings& settings, plan::Problems& problems) {
  const auto min = settings.optional_integer("min-tokens");
  const auto max = settings.optional_integer("max-tokens");
  if (settings.is_given("tokens") && (min || max))
    problems.add(
        "--tokens and --min-tokens/--max-tokens are given (both set the lengths of the sequences). "
        "Keep one of them.");
  else if (min.has_value() != max.has_value())
    problems.add(
        "--{}-tokens is not given (lengths are drawn from min to max). Add it, or use "
        "--tokens.",
        min ? "max" : "min");
  else if (min && *min > *max)
    problems.add("--min-tokens {} exceeds --max-tokens {}. Exchange them.", *min, *max);
}

/// Sets kv-heads and head-dim, where they are not given, from the sizes that are given.
void set_head_sizes(const Settings& settings, bool is_mha, plan::ModelSpec& spec,
                    plan::Problems& problems) {
  if (!settings.has("kv-heads") && settings.has("heads") &&
      (is_mha || spec.num_kv_heads == 0 || spec.num_heads % spec.num_kv_heads != 0))
    spec.num_kv_heads = spec.num_heads;
  if (settings.has("head-dim") || !(settings.has("hidden") || settings.has("heads"))) return;
  if (spec.hidden_size % (2 * spec.num_heads) != 0)
    problems.add(
        "--hidden {} divided by {} heads is not an even number (a head has hidden / heads "
        "elements, which RoPE rotates in pairs). Give --head-dim, or other sizes.",
        spec.hidden_size, spec.num_heads);
  else
    spec.head_size = spec.hidden_size / spec.num_heads;
}

plan::ModelSpec to_model_spec(const Settings& settings) {
  plan::Problems problems;
  check_sizes_given(settings, problems);
  check_lengths(settings, problems);
  problems.refuse(base::ExitCode::usage, "synth");

  plan::ModelSpec spec;
  spec.max_position = 8192;
  if (settings.has("preset")) spec = plan::preset(settings.text("preset"));
  const bool is_mha = spec.num_kv_heads == spec.num_heads;
  for (const Size& size : sizes)
    if (settings.has(size.name)) spec.*size.member = settings.integer(size.name);
  set_head_sizes(settings, is_mha, spec, problems);
  problems.refuse(base::ExitCode::usage, "synth");
  if (settings.has("expert-kind")) {
    const bool is_glu = settings.text("expert-kind") == "glu";
    spec.expert_kind = is_glu ? plan::ExpertKind::glu : plan::ExpertKind::mlp;
    spec.activation = is_glu ? plan::Activation::silu : plan::Activation::gelu;
  }
  if (settings.has("dtype")) spec.dtype = base::model_dtype_from(settings.text("dtype"));
  plan::set_derived(spec);
  try {
    plan::validate(spec, "the requested model");
  } catch (const base::Refusal& error) {  // wrong options, not a bad file
    throw base::Refusal(base::ExitCode::usage, error.what());
  }
  return spec;
}

storage::InputsSpec to_inputs_spec(const Settings& settings, const plan::ModelSpec& model) {
  storage::InputsSpec inputs;
  inputs.num_sequences = settings.integer("sequences");
  inputs.min_tokens = settings.integer(settings.has("min-tokens") ? "min-tokens" : "tokens");
  inputs.max_tokens = settings.integer(settings.has("max-tokens") ? "max-tokens" : "tokens");
  inputs.vocab_size = model.vocab_size;
  inputs.seed = static_cast<std::uint64_t>(settings.integer("seed"));
  return inputs;
}

int synth(const Settings& settings) {
  const plan::ModelSpec spec = to_model_spec(settings);
  const std::int64_t shards =
      settings.optional_integer("reduction-shards").value_or(plan::default_reduction_shards(spec));
  plan::check_reduction_shards(spec, shards, base::ExitCode::usage);
  const storage::InputsSpec inputs = to_inputs_spec(settings, spec);

  base::Log log(base::Log::Sink::terminal);
  if (inputs.max_tokens > spec.max_position)
    log.note(
        fmt::format("sequences of up to {} tokens exceed the model's max_position = {}; `run` "
                    "makes error records of them.",
                    inputs.max_tokens, spec.max_position));
  const std::string out = settings.text("out");
  storage::synthesize_weights(spec, shards, inputs.seed, out + "/weights.h5", log);
  storage::synthesize_inputs(inputs, out + "/inputs.h5", log);
  return 0;
}

std::vector<OptionSpec> synth_options() {
  const auto integer = [](const char* name, const char* fallback, const char* help, double min,
                          double max) {
    return OptionSpec{.name = name,
                      .kind = Kind::integer,
                      .placeholder = "N",
                      .fallback = fallback,
                      .help = help,
                      .min = min,
                      .max = max};
  };
  std::vector<OptionSpec> options = {
      {.name = "preset",
       .placeholder = "NAME",
       .help = fmt::format("{}; the sizes below replace those of the preset",
                           fmt::join(plan::preset_names(), ", "))},
      {.name = "out",
       .placeholder = "DIR",
       .help = "folder for the two files; created if missing",
       .is_required = true},
      integer("seed", "1", "seed of all random numbers", 0, 9.2e18),
      integer("sequences", "64", "number of sequences", 0, 1e8),
      integer("tokens", "128", "tokens of each sequence", 0, largest_size),
      integer("min-tokens", "", "shortest length, instead of --tokens", 0, largest_size),
      integer("max-tokens", "", "longest length; each length from min to max is equally likely", 0,
              largest_size),
      {.name = "dtype",
       .kind = Kind::choice,
       .placeholder = "f32|bf16",
       .help = "dtype of the weights (default the preset's, bf16)"},
      integer("reduction-shards", "",
              "number V of reduction shards, which tp must divide (default the largest of 4, 2, 1 "
              "that fits)",
              1, 8),
  };
  for (const Size& size : sizes)
    options.push_back(integer(size.name, "", size.help, 1, largest_size));
  options.push_back({.name = "expert-kind",
                     .kind = Kind::choice,
                     .placeholder = "glu|mlp",
                     .help = "experts of three matrices with SiLU, or of two with GELU"});
  return options;
}

}  // namespace

Subcommand synth_subcommand() {
  return {.name = "synth",
          .summary = "write a random model and random inputs",
          .usage = "tetrarch synth --preset NAME --out DIR [options]",
          .word = "",
          .options = synth_options(),
          .notes =
              "Example\n"
              "  tetrarch synth --preset tiny --sequences 16 --min-tokens 8 --max-tokens 200 "
              "--out demo\n\n"
              "Results are DIR/weights.h5 and DIR/inputs.h5; files of these names are replaced. "
              "The same\nseed and sizes give the same bytes of data on every machine.",
          .act = [](const Settings& settings, int, char**) { return synth(settings); }};
}

}  // namespace tetrarch::app
