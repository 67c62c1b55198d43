/// The subcommands: what each takes and does.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "option_spec.hpp"
#include "plan/run_config.hpp"
#include "settings.hpp"

namespace tetrarch::app {

struct Subcommand {
  std::string name;
  std::string summary;  // a line of the overview
  std::string usage;    // the command line in short
  std::string word;     // the one word without dashes that it takes, "" for none
  std::vector<OptionSpec> options;
  std::string notes;  // end of the help: an example, and where the results lie
  int (*act)(const Settings& settings, int argc, char** argv);  // returns the exit code
};

Subcommand run_subcommand();
Subcommand synth_subcommand();
Subcommand import_subcommand();
Subcommand inspect_subcommand();
Subcommand verify_subcommand();
Subcommand merge_subcommand();

/// The main job on all ranks; `settings` is what `config` was made from, with origins.
int run(const plan::RunConfig& config, const Settings& settings, int argc, char** argv);

/// Every subcommand, in the order of the overview.
std::vector<Subcommand> all_subcommands();
std::string overview_text();
std::string help_text(const Subcommand& subcommand);
/// Program, build, and the libraries in use, as lines or as one JSON object.
std::string build_info_text();
std::string build_info_json();

}  // namespace tetrarch::app
