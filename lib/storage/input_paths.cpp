// Which files are inputs, and of which kind.
// SPDX-License-Identifier: Apache-2.0
#include "storage/input_paths.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace tetrarch::storage {
namespace {

namespace fs = std::filesystem;
using base::ExitCode;
using base::UsageError;

bool is_jsonl(const fs::path& path) {
  const fs::path extension = path.extension();
  return extension == ".jsonl" || extension == ".ndjson" || extension == ".json";
}

bool is_input(const fs::path& path) {
  const bool is_hidden = path.filename().string().starts_with('.');
  return !is_hidden && (is_jsonl(path) || path.extension() == ".h5" || path.extension() == ".hdf5");
}

/// Names go into results and logs.
std::string checked(std::string path) {
  if (base::is_printable(path)) return path;
  throw UsageError(ExitCode::input,
                   fmt::format("{}: its name is no printable UTF-8 (results name their input "
                               "files). Rename it.",
                               base::shown(path, 1000)));
}

void add_folder(const std::string& folder, std::vector<std::string>& files) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (is_input(at->path())) found.push_back(checked(at->path().string()));
  if (error)
    throw UsageError(ExitCode::input, fmt::format("{}: the folder cannot be read ({}). Check its "
                                                  "permissions or name another.",
                                                  folder, error.message()));
  if (found.empty())
    throw UsageError(ExitCode::input,
                     fmt::format("{}: no input (the folder holds no .h5, .hdf5, .jsonl, .ndjson or "
                                 ".json file). Name the files or another folder.",
                                 folder));
  std::ranges::sort(found);
  files.insert(files.end(), found.begin(), found.end());
}

}  // namespace

InputFormat input_format(const std::string& path) {
  return is_jsonl(path) ? InputFormat::jsonl : InputFormat::hdf5;
}

std::vector<std::string> input_files(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (fs::is_directory(path, error)) {
      add_folder(path, files);
    } else {
      files.push_back(path);
    }
  }
  if (files.empty())
    throw UsageError(ExitCode::input, "no input is given. Name files with --inputs.");
  return files;
}

}  // namespace tetrarch::storage
