// The texts of --help.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "subcommands.hpp"

namespace tetrarch::app {
namespace {

constexpr std::size_t page_width = 98;
constexpr std::size_t help_column = 36;

/// One row of two columns: `left`, and `right` wrapped between words.
std::string row(const std::string& left, const std::string& right) {
  std::string text = "  " + left;
  std::size_t column = text.size();
  const auto begin_line = [&] {
    text += "\n" + std::string(help_column, ' ');
    column = help_column;
  };
  if (column + 2 > help_column) {
    begin_line();
  } else {
    text.append(help_column - column, ' ');
    column = help_column;
  }
  std::istringstream words(right);
  for (std::string word; words >> word; column += word.size()) {
    if (column > help_column && column + 1 + word.size() > page_width) begin_line();
    if (column > help_column) {
      text += ' ';
      ++column;
    }
    text += word;
  }
  return text + "\n";
}

std::string option_row(const OptionSpec& option) {
  std::string right = option.help;
  if (option.is_required) right += " (required)";
  if (!option.fallback.empty() && option.kind != Kind::flag)
    right += fmt::format(" (default {})", option.fallback);
  return row(fmt::format("--{} {}", option.name, option.placeholder), right);
}

/// The row that lists options of later versions, or "" when there are none.
std::string later_text(const std::vector<OptionSpec>& options) {
  std::vector<std::string> names;
  for (const OptionSpec& option : options) {
    if (!option.only) continue;
    names.push_back("--" + option.name);
    if (!option.only->empty()) names.back() += fmt::format(" (only {})", *option.only);
  }
  return names.empty() ? "" : row("not in this version", fmt::format("{}", fmt::join(names, ", ")));
}

}  // namespace

std::string overview_text() {
  std::string text =
      "tetrarch: batched prefill of mixture-of-experts transformers on MPI clusters\n\n"
      "  tetrarch SUBCOMMAND [options]\n\nSubcommands\n";
  for (const Subcommand& subcommand : all_subcommands())
    text += fmt::format("  {:<9}{}\n", subcommand.name, subcommand.summary);
  text +=
      "\nOptions\n"
      "  --help               this text; `tetrarch SUBCOMMAND --help` lists a subcommand's "
      "options\n"
      "  --version            version and commit\n"
      "  --build-info         compiler, build and libraries; with --json as JSON\n\n"
      "First steps\n"
      "  tetrarch synth --preset tiny --out demo\n"
      "  mpirun -np 2 tetrarch run --weights demo/weights.h5 --inputs demo/inputs.h5 --out "
      "demo/run\n"
      "  tetrarch inspect demo/run/results.h5\n";
  return text;
}

std::string help_text(const Subcommand& subcommand) {
  std::string text = fmt::format("tetrarch {}: {}\n\n  {}\n\nOptions\n", subcommand.name,
                                 subcommand.summary, subcommand.usage);
  for (const OptionSpec& option : subcommand.options)
    if (!option.only) text += option_row(option);
  text += row("--config FILE",
              "read options from an INI file (name = value, comments after #); options on the "
              "command line take precedence");
  text += row("--help", "this text");
  return text + later_text(subcommand.options) + "\n" + subcommand.notes + "\n";
}

}  // namespace tetrarch::app
