// Lists the input files that given paths of files and folders mean.
// SPDX-License-Identifier: Apache-2.0
#include "storage/inputs/input_paths.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "storage/files/file_kind.hpp"

namespace tetrarch::storage {
namespace {

namespace fs = std::filesystem;
using base::ExitCode;
using base::Refusal;

constexpr const char* endings =
    ".h5, .hdf5, .jsonl, .ndjson or .json (the last three perhaps followed by .gz or .zst)";

bool is_input(const fs::directory_entry& entry) {
  std::error_code error;
  const std::string name = entry.path().filename().string();
  return !name.starts_with('.') && !entry.is_directory(error) &&
         (is_named_lines(name) || is_named_hdf5(name));
}

/// Refuses a name that is not printable, since names are written to results and logs.
std::string checked(std::string path) {
  if (base::is_printable(path)) return path;
  throw Refusal(ExitCode::input,
                fmt::format("{}: its name is no printable UTF-8 (results name their input "
                            "files). Rename it.",
                            base::shown(path, 1000)));
}

/// Text for a message: the first ten names, sorted, and how many more there are.
std::string list_text(std::vector<std::string> names) {
  constexpr std::size_t most_listed = 10;
  std::ranges::sort(names);
  std::string list;
  for (std::size_t i = 0; i < std::min(most_listed, names.size()); ++i)
    list += (i == 0 ? "" : ", ") + base::shown(names[i]);
  if (names.size() > most_listed) list += fmt::format(" and {} more", names.size() - most_listed);
  return list;
}

void add_folder(const std::string& folder, std::vector<std::string>& files,
                std::vector<std::string>* notes) {
  std::vector<std::string> found, others;
  std::error_code error, unseen;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (is_input(*at)) {
      found.push_back(checked(at->path().string()));
    } else {
      const bool is_folder = at->is_directory(unseen);
      others.push_back(at->path().filename().string() + (is_folder ? "/" : ""));
    }
  }
  if (error)
    throw Refusal(ExitCode::input, fmt::format("{}: the folder cannot be read ({}). Check its "
                                               "permissions or name another.",
                                               folder, error.message()));
  if (found.empty())
    throw Refusal(ExitCode::input,
                  fmt::format("{}: has no input (no file in it has a name that ends in {}; it has "
                              "{}). Name the files or another folder.",
                              folder, endings, others.empty() ? "nothing" : list_text(others)));
  if (notes && !others.empty())
    notes->push_back(fmt::format("{}: {} of {} entries are inputs by their names; left out: {}",
                                 folder, found.size(), found.size() + others.size(),
                                 list_text(others)));
  std::ranges::sort(found);
  files.insert(files.end(), found.begin(), found.end());
}

}  // namespace

std::vector<std::string> input_files(const std::vector<std::string>& paths,
                                     std::vector<std::string>* notes) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (fs::is_directory(path, error)) {
      add_folder(path, files, notes);
    } else {
      files.push_back(path);
    }
  }
  if (files.empty()) throw Refusal(ExitCode::input, "no input is given. Name files with --inputs.");
  return files;
}

}  // namespace tetrarch::storage
