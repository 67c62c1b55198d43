// `tetrarch merge RUN_DIR`: makes one results.h5 from the parts of a run.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/merge.hpp"

#include "base/text.hpp"
#include "probe.hpp"
#include "subcommands.hpp"

namespace tetrarch::app {
namespace {

int merge(const Settings& settings) {
  refuse_bad_run_folder(settings.word(), storage::Purpose::results);
  base::Log log(base::Log::Sink::terminal);
  const auto parts = settings.flag("keep-parts") ? storage::Parts::keep : storage::Parts::remove;
  const storage::MergeReport report = storage::merge_run_folder(settings.word(), parts, log);
  log.say("{}: {}, {} ok, {} with an error record, {} missing", report.path,
          base::bytes_text(report.bytes), base::counted(report.num_ok, "sequence"),
          base::count_text(report.num_failed), base::count_text(report.num_missing));
  if (report.num_missing > 0)
    log.note(
        "the run is not complete (status = \"incomplete\"). Start the `run` command again: it "
        "computes the missing sequences and writes the complete results.");
  return 0;
}

}  // namespace

Subcommand merge_subcommand() {
  return {.name = "merge",
          .summary = "make one results.h5 from what a run has committed so far",
          .usage = "tetrarch merge RUN_DIR [--keep-parts]",
          .word = "RUN_DIR",
          .options = {{.name = "keep-parts",
                       .kind = Kind::flag,
                       .fallback = "false",
                       .help = "keep RUN_DIR/parts also when the results are complete"}},
          .notes =
              "The results are in RUN_DIR/results.h5, in input order. `run` does this itself at "
              "its end;\nmerge is for a run that was stopped.\n\n"
              "Example\n"
              "  tetrarch merge demo/run",
          .act = [](const Settings& settings, int, char**) { return merge(settings); }};
}

}  // namespace tetrarch::app
