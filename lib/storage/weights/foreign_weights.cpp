// Says what a file or folder is that was given as a weights file and is none.
// SPDX-License-Identifier: Apache-2.0
#include "storage/weights/foreign_weights.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "storage/files/file_kind.hpp"

namespace tetrarch::storage {
namespace {

namespace fs = std::filesystem;

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  throw base::Refusal(base::ExitCode::weights, fmt::format(format, std::forward<Args>(args)...));
}

void refuse_folder(const std::string& path) {
  std::error_code error;
  const auto has = [&](const char* name) { return fs::exists(fs::path(path) / name, error); };
  if (has("config.json"))
    refuse(
        "{}: is the folder of a Hugging Face checkpoint. Make a weights file of it: tetrarch "
        "import --from {} --out weights.h5.",
        path, path);
  if (has("snapshots"))
    refuse(
        "{}: is a cache of the Hugging Face hub. Make a weights file of a folder in its snapshots: "
        "tetrarch import --from {}/snapshots/VERSION --out weights.h5.",
        path, path);
  if (has("weights.h5")) refuse("{}: is a folder. Give its file {}/weights.h5.", path, path);
  refuse("{}: is a folder, not a weights file. Give a file that `import` or `synth` wrote.", path);
}

/// Whether the bytes are printable text; line ends and tabs are allowed.
bool is_text(std::string_view first) {
  std::string line(first);
  std::erase_if(line,
                [](char letter) { return letter == '\n' || letter == '\r' || letter == '\t'; });
  while (!line.empty() && (line.back() & 0x80))
    line.pop_back();  // the last character may be cut in two
  return !first.empty() && base::is_printable(line);
}

}  // namespace

void refuse_foreign_weights(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) refuse_folder(path);
  if (!fs::is_regular_file(path, error)) return;
  const std::string first = first_bytes_of(path);
  if (first.starts_with("\x89HDF")) return;
  const std::string parent = fs::path(path).parent_path().string();
  const std::string folder = parent.empty() ? "." : parent;
  if (begins_as_safetensors(first) && !is_text(first.substr(0, 8)))
    refuse(
        "{}: is a safetensors file of a checkpoint. Make a weights file of its folder: tetrarch "
        "import --from {} --out weights.h5.",
        path, folder);
  if (fs::path(path).filename() == "config.json")
    refuse(
        "{}: is the config of a checkpoint. Make a weights file of its folder: tetrarch import "
        "--from {} --out weights.h5.",
        path, folder);
  if (const auto kind = foreign_kind(first, static_cast<std::int64_t>(fs::file_size(path, error))))
    refuse("{}: {}. Give a file that `import` or `synth` wrote. {}", path, kind->what,
           kind->advice);
  if (is_text(first))
    refuse(
        "{}: is a text, not a weights file. Give a weights file that `import` or `synth` wrote. If "
        "the text is to be computed, make a file for --inputs of it with tools/text_to_inputs.py.",
        path);
}

}  // namespace tetrarch::storage
