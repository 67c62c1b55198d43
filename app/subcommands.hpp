/// The subcommands: their options, their help, and the functions that carry them out.
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
  std::string summary;  // one line, for the overview
  std::string usage;    // an example of the command line
  std::string word;     // name of the one word without dashes that it takes, "" for none
  std::vector<OptionSpec> options;
  std::string notes;  // end of its help: an example, and where the results are
  int (*act)(const Settings& settings, int argc, char** argv);  // returns the exit code
};

Subcommand run_subcommand();
Subcommand synth_subcommand();
Subcommand import_subcommand();
Subcommand inspect_subcommand();
Subcommand verify_subcommand();
Subcommand merge_subcommand();

/// Runs the main job on this rank; returns the exit code. `settings` are the options that `config`
/// was made from, with their origins. Starts MPI, which reads argc and argv.
int run(const plan::RunConfig& config, const Settings& settings, int argc, char** argv);

/// Every subcommand, in the order of the overview.
std::vector<Subcommand> all_subcommands();
/// The text of `tetrarch --help`.
std::string overview_text();
/// The text of `tetrarch SUBCOMMAND --help`.
std::string help_text(const Subcommand& subcommand);
/// Version, build and the libraries in use, as lines or as one JSON object.
std::string build_info_text();
std::string build_info_json();

}  // namespace tetrarch::app
