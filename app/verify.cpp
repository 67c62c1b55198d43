// `tetrarch verify PATH`: checks every checksum, shape and rule of completeness.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/verify.hpp"

#include <filesystem>

#include "probe.hpp"
#include "subcommands.hpp"

namespace tetrarch::app {

Subcommand verify_subcommand() {
  return {.name = "verify",
          .summary = "check a file or run folder: checksums, shapes, completeness",
          .usage = "tetrarch verify PATH",
          .word = "PATH",
          .options = {},
          .notes =
              "PATH is weights.h5, inputs.h5, results.h5, a JSONL file or a run folder. All of it "
              "is read.\n"
              "Exit codes: 0 sound and complete, 3 a damaged file, 4 bad weights, 7 numbers that\n"
              "contradict each other, 85 sound, but a run that is not complete.\n\n"
              "Example\n"
              "  tetrarch verify demo/run",
          .act = [](const Settings& settings, int, char**) {
            std::error_code error;
            if (std::filesystem::is_directory(settings.word(), error))
              refuse_bad_run_folder(settings.word(), storage::Purpose::verify);
            else
              refuse_bad({{settings.word(), storage::Purpose::verify}});
            base::Log log(base::Log::Sink::terminal);
            storage::verify(settings.word(), log);
            return 0;
          }};
}

}  // namespace tetrarch::app
