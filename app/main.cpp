// tetrarch SUBCOMMAND [options]: the list of subcommands, and the place where all errors are
// caught.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/build_info.hpp"
#include "base/stop_signal.hpp"
#include "base/text.hpp"
#include "failure.hpp"
#include "options.hpp"
#include "probe.hpp"
#include "storage/h5/h5.hpp"
#include "subcommands.hpp"

namespace tetrarch::app {

std::vector<Subcommand> all_subcommands() {
  return {run_subcommand(),     synth_subcommand(),  import_subcommand(),
          inspect_subcommand(), verify_subcommand(), merge_subcommand()};
}

namespace {

int print(const std::string& text) {
  fmt::print("{}", text);
  return 0;
}

[[noreturn]] void refuse(const std::string& message) {
  throw base::Refusal(base::ExitCode::usage, message);
}

[[noreturn]] void refuse_subcommand(const std::string& name) {
  if (name == "plan" || name == "bench")
    refuse(
        fmt::format("\"{}\" is not in this version (it comes in a later one). `run --dry-run` "
                    "shows the plan of a run.",
                    name));
  std::vector<std::string> names = {"--help", "--version", "--build-info"};
  for (const Subcommand& subcommand : all_subcommands())
    names.push_back(subcommand.name);
  const std::string near = base::nearest(name, names);
  refuse(fmt::format("\"{}\" is not a subcommand. {}Use one of {}.", name,
                     near.empty() ? "" : fmt::format("Did you mean {}? ", near),
                     fmt::join(names.begin() + 3, names.end(), ", ")));
}

int print_build_info(const std::vector<std::string>& arguments) {
  const Settings settings = parse_options(
      "--build-info", {{.name = "json", .kind = Kind::flag, .fallback = "false"}}, "", arguments);
  return print(settings.flag("json") ? build_info_json() : build_info_text());
}

int start(int argc, char** argv) {
  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (words.empty()) refuse("no subcommand is given. See `tetrarch --help`.");
  const std::string& name = words.front();
  const std::vector<std::string> arguments(words.begin() + 1, words.end());
  if (name == "--help" || name == "-h" || name == "help") return print(overview_text());
  if (name == "--version")
    return print(
        fmt::format("tetrarch {} ({})\n", base::build_info().version, base::build_info().git_sha));
  if (name == "--build-info") return print_build_info(arguments);

  for (const Subcommand& subcommand : all_subcommands()) {
    if (subcommand.name != name) continue;
    for (const char* help : {"--help", "-h"})
      if (std::find(arguments.begin(), arguments.end(), help) != arguments.end())
        return print(help_text(subcommand));
    return subcommand.act(parse_options(name, subcommand.options, subcommand.word, arguments), argc,
                          argv);
  }
  refuse_subcommand(name);
}

/// Only Refusal is caught here, because all ranks throw the same one and unwind the stack
/// together. Any other exception reaches end_with_failure(), the terminate handler, which ends all
/// ranks: if one rank unwound the stack alone, its destructors would wait for the other ranks.
int start_ranks(int argc, char** argv) {
  try {
    check_address_space();
    watch_for_exits();
    return start(argc, argv);
  } catch (const base::Refusal& error) {
    return report(error, Launch::ranks);
  }
}

int start_alone(int argc, char** argv) {
  base::end_on_stop_signals();
  try {
    return start(argc, argv);
  } catch (const base::Refusal& error) {
    return report(error, Launch::alone);
  } catch (...) {
    end_with_failure();
  }
}

}  // namespace
}  // namespace tetrarch::app

int main(int argc, char** argv) {
  std::set_terminate(tetrarch::app::end_with_failure);
  std::signal(SIGXFSZ, SIG_IGN);  // beyond a file-size limit writes then fail, with exit code 5
  tetrarch::storage::h5::be_quiet();
  const std::string word = argc > 1 ? argv[1] : "";
  if (word == tetrarch::app::probe_word) return tetrarch::app::run_probe(argc, argv);
  return word == "run" ? tetrarch::app::start_ranks(argc, argv)
                       : tetrarch::app::start_alone(argc, argv);
}
