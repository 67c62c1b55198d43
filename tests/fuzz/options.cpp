// The command line of `run` and its --config FILE: settings that are accepted stay the same if they
// are given again as words of a command line.
// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <optional>
#include <vector>

#include "base/json.hpp"
#include "fuzz.hpp"
#include "subcommands.hpp"

namespace tetrarch::app {

/// Replaces the main job: checks what can be checked without a file.
int run(const plan::RunConfig& config, const Settings& settings, int, char**) {
  fuzz::must(!config.weights.empty() && !config.inputs.empty(), "required options are there");
  fuzz::is_accepted([&] { plan::resolve_outputs(config, plan::preset("tiny")); });
  for (const std::string& line : settings.lines())
    fuzz::must(base::is_printable(line), "settings can be printed", line);
  settings.json().dump();
  return 0;
}

}  // namespace tetrarch::app

namespace {

using namespace tetrarch;

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    words.emplace_back(text.substr(0, end).substr(0, text.find('\0')));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

void check_again(const app::Subcommand& subcommand, const app::Settings& settings) {
  std::vector<std::string> words;
  for (const app::OptionSpec& option : subcommand.options) {
    if (option.only && !option.fallback.empty() && !settings.is_given(option.name)) continue;
    if (option.only && option.fallback.empty()) continue;
    for (const std::string& value : settings.texts(option.name))
      words.push_back("--" + option.name + "=" + value);
  }
  const app::Settings again =
      app::parse_options(subcommand.name, subcommand.options, subcommand.word, words);
  for (const app::OptionSpec& option : subcommand.options)
    if (!option.only)
      fuzz::must(again.texts(option.name) == settings.texts(option.name),
                 "settings say the same when given again", option.name);
}

}  // namespace

// Input: words of the command line, one per line, up to a byte 1; after it the INI file, if any.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const app::Subcommand subcommand = app::run_subcommand();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(text.find('\1'), text.size());
  std::vector<std::string> words = words_of(text.substr(0, end));
  std::optional<fuzz::MemoryFile> file;
  if (end < text.size()) {
    file.emplace(text.substr(end + 1));
    words.insert(words.end(), {"--config", file->path()});
  }
  std::optional<app::Settings> settings;
  if (!fuzz::is_accepted([&] {
        settings = app::parse_options(subcommand.name, subcommand.options, subcommand.word, words);
      }))
    return 0;
  check_again(subcommand, *settings);
  subcommand.act(*settings, 0, nullptr);
  return 0;
}
