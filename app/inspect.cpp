// `tetrarch inspect FILE`: shows what is in a file or run folder.
// SPDX-License-Identifier: Apache-2.0
#include "storage/run/inspect.hpp"

#include "probe.hpp"
#include "subcommands.hpp"

namespace tetrarch::app {

Subcommand inspect_subcommand() {
  return {.name = "inspect",
          .summary = "show what is in a file or run folder",
          .usage = "tetrarch inspect FILE",
          .word = "FILE",
          .options = {},
          .notes =
              "FILE is weights.h5, inputs.h5, results.h5, a JSONL file or a run folder. Of an "
              "HDF5\nfile only metadata, the first ids and the statuses are read; `tetrarch "
              "verify` reads all of it.\n\n"
              "Example\n"
              "  tetrarch inspect demo/weights.h5",
          .act = [](const Settings& settings, int, char**) {
            refuse_bad({{settings.word(), storage::Purpose::inspect},
                        {settings.word() + "/results.h5", storage::Purpose::inspect}});
            base::Log log(base::Log::Sink::terminal);
            storage::inspect(settings.word(), log);
            return 0;
          }};
}

}  // namespace tetrarch::app
