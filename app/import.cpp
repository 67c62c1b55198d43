// `tetrarch import`: makes weights.h5 from a Hugging Face checkpoint.
// SPDX-License-Identifier: Apache-2.0
#include "import/import_checkpoint.hpp"
#include "subcommands.hpp"

namespace tetrarch::app {
namespace {

int import_model(const Settings& settings) {
  hf::ImportOptions options;
  if (settings.has("dtype")) options.dtype = base::model_dtype_from(settings.text("dtype"));
  if (settings.has("tied")) options.tied = settings.text("tied") == "yes";
  options.reduction_shards = settings.optional_integer("reduction-shards");
  base::Log log(base::Log::Sink::terminal);
  hf::import_checkpoint(settings.text("from"), settings.text("out"), options, log);
  return 0;
}

}  // namespace

Subcommand import_subcommand() {
  return {.name = "import",
          .summary = "make weights.h5 from a Hugging Face checkpoint folder",
          .usage = "tetrarch import --from HF_DIR --out weights.h5 [options]",
          .word = "",
          .options = {{.name = "from",
                       .placeholder = "HF_DIR",
                       .help = "folder with config.json and *.safetensors (Mixtral or Qwen3-MoE)",
                       .is_required = true},
                      {.name = "out",
                       .placeholder = "FILE",
                       .help = "the weights.h5 to write",
                       .is_required = true},
                      {.name = "dtype",
                       .kind = Kind::choice,
                       .placeholder = "f32|bf16",
                       .help = "dtype of the weights written (default the checkpoint's)"},
                      {.name = "reduction-shards",
                       .kind = Kind::integer,
                       .placeholder = "V",
                       .help = "number V of reduction shards, which tp must divide (default the "
                               "largest of 4, 2, 1 that fits)",
                       .min = 1,
                       .max = 8},
                      {.name = "tied",
                       .kind = Kind::choice,
                       .placeholder = "yes|no",
                       .help = "whether the head is the embedding's matrix; needed only where "
                               "config.json and the tensors disagree"}},
          .notes =
              "Example\n"
              "  tetrarch import --from mixtral-8x7b/ --out mixtral/weights.h5\n\n"
              "The result is FILE. An earlier weights file of that name is replaced after the new "
              "one is complete.",
          .act = [](const Settings& settings, int, char**) { return import_model(settings); }};
}

}  // namespace tetrarch::app
