// Reads options: Boost.ProgramOptions splits the command line and the INI file, and the code here
// checks what it finds.
// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <map>
#include <sstream>

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include "base/text.hpp"

namespace tetrarch::app {
namespace {

namespace po = boost::program_options;

using Given = std::map<std::string, std::vector<std::string>>;

constexpr std::size_t largest_file = 1 << 20;  // bytes of --config FILE
constexpr std::size_t longest_shown = 200;     // bytes of the user's words in messages

/// Collects the options of the command line and of the file, and all problems of both.
class Reader {
 public:
  Reader(const std::vector<OptionSpec>& specs, plan::Problems* problems)
      : specs_(specs), problems_(*problems) {
    // Boost accepts any number of values here, so that it does not throw for a missing or a second
    // one: take() and add() report these.
    for (const OptionSpec& spec : specs_) {
      known_.add_options()(spec.name.c_str(),
                           po::value<std::vector<std::string>>()->multitoken()->zero_tokens());
      names_.push_back("--" + spec.name);
    }
  }

  Given read_command_line(const std::vector<std::string>& arguments,
                          std::vector<std::string>* words);
  Given read_file(const std::string& path);

 private:
  const OptionSpec& spec_of(const std::string& name) const {
    return *std::find_if(specs_.begin(), specs_.end(),
                         [&](const OptionSpec& spec) { return spec.name == name; });
  }
  std::vector<po::option> split(const std::vector<std::string>& arguments);
  void refuse_unknown(const std::string& key, const std::string& where);
  void take(const po::option& option, std::vector<std::string>* words, Given* given);
  void add(const OptionSpec& spec, const std::string& value, const std::string& where,
           Given* given);

  const std::vector<OptionSpec>& specs_;
  plan::Problems& problems_;
  po::options_description known_;
  std::vector<std::string> names_;
};

bool has_adjacent_value(const po::option& option) {
  return option.original_tokens.front().find('=') != std::string::npos;
}

std::vector<po::option> Reader::split(const std::vector<std::string>& arguments) {
  using namespace po::command_line_style;
  std::vector<std::string> words;
  for (const std::string& argument : arguments) {
    // Boost throws for "--name=", but not for "--name" followed by an empty word.
    const bool is_cut = argument.starts_with("--") && argument.find('=') + 1 == argument.size();
    words.push_back(is_cut ? argument.substr(0, argument.size() - 1) : argument);
    if (is_cut) words.emplace_back();
  }
  try {
    return po::command_line_parser(words)
        .options(known_)
        .style(allow_long | long_allow_adjacent | long_allow_next)
        .allow_unregistered()
        .run()
        .options;
  } catch (const po::error& error) {
    problems_.add("{}. Write --name value; --help lists all options.",
                  base::shown(error.what(), longest_shown));
    return {};
  }
}

Given Reader::read_command_line(const std::vector<std::string>& arguments,
                                std::vector<std::string>* words) {
  Given given;
  bool follows_unknown = false;
  for (const po::option& option : split(arguments)) {
    if (option.string_key.empty()) {
      // a word after a misspelt option is taken for its value, and is not reported too
      if (!follows_unknown) words->insert(words->end(), option.value.begin(), option.value.end());
      follows_unknown = false;
    } else if (option.unregistered) {
      refuse_unknown(option.string_key, "");
      follows_unknown = !has_adjacent_value(option);
    } else {
      take(option, words, &given);
      follows_unknown = false;
    }
  }
  return given;
}

/// Reports each # inside a word: Boost takes the rest of the line for a comment, also when the # is
/// part of a path.
void check_comments(const std::string& text, const std::string& where, plan::Problems& problems) {
  for (std::size_t at = text.find('#'); at != std::string::npos;
       at = text.find('#', std::min(text.find('\n', at), text.size()))) {
    if (at == 0 || std::isspace(static_cast<unsigned char>(text[at - 1]))) continue;
    const std::size_t begin = text.rfind('\n', at) + 1;
    problems.add(
        "{}\"{}\" has a # inside a word (the rest of the line would be taken for a comment). Put a "
        "space before a comment; give names with # on the command line.",
        where, base::shown(text.substr(begin, at + 1 - begin)));
  }
}

Given Reader::read_file(const std::string& path) {
  std::ifstream stream(path);
  std::string bytes(largest_file + 1, '\0');
  stream.read(bytes.data(), std::ssize(bytes));
  bytes.resize(static_cast<std::size_t>(stream.gcount()));
  if (bytes.empty() || bytes.size() > largest_file) {
    problems_.add(
        "--config {} cannot be read (missing, empty, a folder, more than 1 MiB, or no permission). "
        "Give the path of an INI file.",
        base::shown(path, longest_shown));
    return {};
  }
  std::istringstream text(bytes);
  Given given;
  const std::string where = base::shown(path, longest_shown) + ": ";
  check_comments(bytes, where, problems_);
  try {
    for (const po::option& option : po::parse_config_file(text, known_, true).options) {
      const std::string value = option.value.empty() ? "" : option.value.front();
      if (option.unregistered)
        refuse_unknown(option.string_key, where);
      else if (option.string_key == "config")
        problems_.add(
            "{}--config is an option of the command line only (a file cannot name another file). "
            "Remove the line.",
            where);
      else
        add(spec_of(option.string_key), value, where, &given);
    }
  } catch (const po::error& error) {
    problems_.add("{}{}. Write lines name = value, and comments after #.", where,
                  base::shown(error.what(), longest_shown));
  }
  return given;
}

void Reader::refuse_unknown(const std::string& key, const std::string& where) {
  const std::string near = problems_.is_full() ? "" : base::nearest("--" + key, names_);
  const std::string hint =
      near.empty() ? "--help lists all options." : fmt::format("Did you mean {}?", near);
  problems_.add("{}--{} is an unknown option. {}", where, base::shown(key), hint);
}

/// Takes the values of one option. A switch takes true, false or nothing; any other option takes
/// exactly one word. Further words are added to `words`.
void Reader::take(const po::option& option, std::vector<std::string>* words, Given* given) {
  const OptionSpec& spec = spec_of(option.string_key);
  const bool is_flag = spec.kind == Kind::flag;
  auto rest = option.value.begin();
  std::string value;
  if (rest != option.value.end() &&
      (!is_flag || has_adjacent_value(option) || *rest == "true" || *rest == "false"))
    value = *rest++;
  else if (is_flag)
    value = "true";
  words->insert(words->end(), rest, option.value.end());
  add(spec, value, "", given);
}

void Reader::add(const OptionSpec& spec, const std::string& value, const std::string& where,
                 Given* given) {
  std::vector<std::string>& values = (*given)[spec.name];
  const bool is_flag = spec.kind == Kind::flag;
  if (value.empty()) {
    problems_.add("{}--{} has no value. Give it {}.", where, spec.name,
                  is_flag ? "true or false" : spec.placeholder);
    return;
  }
  if (!base::is_printable(value))
    problems_.add(
        "{}--{} \"{}\" is not printable UTF-8 (values go into logs and results). Use other "
        "characters.",
        where, spec.name, base::shown(value, longest_shown));
  if (!values.empty() && !spec.is_repeatable)
    problems_.add("{}--{} is given more than once ({} and {}). Keep one.", where, spec.name,
                  base::shown(values.front()), base::shown(value));
  values.push_back(value);
  if (!spec.only)
    check_value(spec, value, where, problems_);
  else if (value != *spec.only)
    problems_.add("{}--{} {} is not in this version (it comes in a later one). {}eave it out.",
                  where, spec.name, base::shown(value),
                  spec.only->empty() ? "L" : fmt::format("Use {} or l", *spec.only));
}

/// The one word without dashes that the subcommand takes; `word` is its name for messages, "" when
/// it takes none. Reports a missing word, and every word beyond it.
std::string check_words(const std::vector<std::string>& words, const std::string& word,
                        plan::Problems& problems) {
  const std::size_t expected = word.empty() ? 0 : 1;
  for (std::size_t i = expected; i < words.size(); ++i) {
    const char* reason = words[i].starts_with("-") ? "options have two dashes and a long name"
                                                   : "it belongs to no option";
    problems.add("\"{}\" is a stray word ({}). Remove it; --help lists all options.",
                 base::shown(words[i], longest_shown), reason);
  }
  if (words.size() >= expected) return word.empty() ? "" : words.front();
  problems.add("{} is missing. Give its path.", word);
  return "";
}

/// The value of an option and its origin. The command line comes before the file, the file before
/// the default.
Setting resolve(const OptionSpec& spec, const Given& line, const Given& file,
                const std::string& file_name) {
  if (const auto found = line.find(spec.name); found != line.end())
    return {spec.name, found->second, "command line"};
  if (const auto found = file.find(spec.name); found != file.end())
    return {spec.name, found->second, file_name};
  if (spec.fallback.empty()) return {spec.name, {}, "not given"};
  return {spec.name, {spec.fallback}, "default"};
}

}  // namespace

Settings parse_options(const std::string& subcommand, const std::vector<OptionSpec>& specs,
                       const std::string& word, const std::vector<std::string>& arguments) {
  std::vector<OptionSpec> rows = specs;
  rows.push_back({.name = "config", .placeholder = "FILE"});
  plan::Problems problems;
  Reader reader(rows, &problems);

  std::vector<std::string> words;
  const Given line = reader.read_command_line(arguments, &words);
  const auto config = line.find("config");
  const std::string file_name =
      config == line.end() || config->second.empty() ? "" : config->second.front();
  const Given file = file_name.empty() ? Given{} : reader.read_file(file_name);

  const std::string found_word = check_words(words, word, problems);
  std::vector<Setting> settings;
  for (const OptionSpec& spec : specs) {
    const Setting setting = resolve(spec, line, file, file_name);
    if (!spec.only || !setting.values.empty()) settings.push_back(setting);
    if (spec.is_required && !line.contains(spec.name) && !file.contains(spec.name))
      problems.add("--{} is not given. Add --{} {}.", spec.name, spec.name, spec.placeholder);
  }
  problems.refuse(base::ExitCode::usage, subcommand);
  return Settings(std::move(settings), found_word);
}

}  // namespace tetrarch::app
