// `tetrarch import`: a Hugging Face checkpoint becomes weights.h5.
// SPDX-License-Identifier: Apache-2.0
#include "storage/import_checkpoint.hpp"
#include "subcommands.hpp"

namespace tetrarch::app {
namespace {

int import_model(const Settings& settings) {
  std::optional<base::DType> dtype;
  if (settings.has("dtype")) dtype = base::model_dtype_from(settings.text("dtype"));
  base::Log log(base::Log::Sink::terminal);
  storage::import_checkpoint(settings.text("from"), settings.text("out"), dtype,
                             settings.optional_integer("reduction-shards"), log);
  return 0;
}

}  // namespace

Subcommand import_subcommand() {
  return {.name = "import",
          .summary = "make weights.h5 of a Hugging Face checkpoint folder",
          .usage = "tetrarch import --from HF_DIR --out weights.h5 [options]",
          .word = "",
          .options = {{.name = "from",
                       .placeholder = "HF_DIR",
                       .help = "folder with config.json and *.safetensors (Mixtral's layout)",
                       .is_required = true},
                      {.name = "out",
                       .placeholder = "FILE",
                       .help = "the weights.h5 to write",
                       .is_required = true},
                      {.name = "dtype",
                       .kind = Kind::choice,
                       .placeholder = "f32|bf16",
                       .help = "of the weights written (default the checkpoint's)"},
                      {.name = "reduction-shards",
                       .kind = Kind::integer,
                       .placeholder = "V",
                       .help = "which tp must divide (default the largest of 4, 2, 1 that fits)",
                       .min = 1,
                       .max = 8}},
          .notes =
              "Example\n"
              "  tetrarch import --from mixtral-8x7b/ --out mixtral/weights.h5\n\n"
              "The result is FILE, which is replaced only once the new one is complete.",
          .act = [](const Settings& settings, int, char**) { return import_model(settings); }};
}

}  // namespace tetrarch::app
