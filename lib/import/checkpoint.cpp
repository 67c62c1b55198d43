// The tensors of a Hugging Face checkpoint: reads all file headers and checks that names agree.
// SPDX-License-Identifier: Apache-2.0
#include "import/checkpoint.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/text.hpp"
#include "plan/problems.hpp"

namespace tetrarch::hf {
namespace {

using base::ExitCode;

constexpr std::size_t longest_shown = 200;        // bytes of a name in messages
constexpr std::int64_t compared_bytes = 1 << 20;  // read at once of each tensor

bool same_bytes(const SafetensorsFile& file_a, const StoredTensor& a, const SafetensorsFile& file_b,
                const StoredTensor& b) {
  if (a.dtype != b.dtype || a.shape != b.shape) return false;
  std::vector<std::byte> left, right;
  for (std::int64_t at = 0; at < a.end - a.begin; at += compared_bytes) {
    const auto count = static_cast<std::size_t>(std::min(compared_bytes, a.end - a.begin - at));
    left.resize(count);
    right.resize(count);
    file_a.read(a, at, left);
    file_b.read(b, at, right);
    if (left != right) return false;
  }
  return true;
}

}  // namespace

Checkpoint::Checkpoint(const std::string& folder) : folder_(folder) {
  const CheckpointFiles files = find_checkpoint_files(folder);
  remarks_ = files.remarks;
  open_all(files);
  for (std::size_t file = 0; file < files_.size(); ++file) {
    const auto& tensors = files_[file].tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i)
      places_[tensors[i].name].push_back({file, i});
  }
  check_index(files);
  refuse_different_doubles(files);
}

/// Opens every file before it refuses any: often several files are damaged or cut off, and one
/// message names them all.
void Checkpoint::open_all(const CheckpointFiles& files) {
  std::vector<std::string> messages;
  for (const std::string& name : files.names) {
    try {
      files_.emplace_back((std::filesystem::path(folder_) / name).string());
    } catch (const base::Refusal& error) {
      messages.push_back(error.what());
    }
  }
  if (messages.size() == 1) throw base::Refusal(ExitCode::weights, messages.front());
  plan::Problems problems;
  for (const std::string& message : messages)
    problems.add("{}", message);
  problems.refuse(ExitCode::weights, folder_);
}

void Checkpoint::check_index(const CheckpointFiles& files) {
  plan::Problems problems;
  for (const auto& [name, file] : files.index) {
    const auto found = places_.find(name);
    if (found == places_.end()) {
      problems.add(
          "the index places tensor \"{}\" in {}, but no file has a tensor of that name. Download "
          "the checkpoint again, all files of one version.",
          base::shown(name, longest_shown), base::shown(file, longest_shown));
      continue;
    }
    const bool is_right = std::ranges::any_of(
        found->second,
        [&, &said = file](const Location& place) { return files.names[place.file] == said; });
    if (!is_right)
      problems.add(
          "the index places tensor \"{}\" in {}, but it is in {}. Download the checkpoint again, "
          "all files of one version.",
          base::shown(name, longest_shown), base::shown(file, longest_shown),
          base::shown(files.names[found->second.front().file], longest_shown));
  }
  problems.refuse(ExitCode::weights, folder_ + "/model.safetensors.index.json");

  std::vector<std::string> unnamed;
  for (const auto& [name, places] : places_)
    if (!files.index.empty() && !files.index.count(name)) unnamed.push_back(name);
  if (!unnamed.empty())
    remarks_.push_back(fmt::format(
        "{} tensors are in the files but not in the index; they are used like the others: {}.",
        unnamed.size(), listed(unnamed)));
}

void Checkpoint::refuse_different_doubles(const CheckpointFiles& files) const {
  plan::Problems problems;
  for (const auto& [name, places] : places_)
    for (std::size_t i = 1; i < places.size(); ++i) {
      const Location &first = places.front(), &other = places[i];
      if (same_bytes(files_[first.file], at(first), files_[other.file], at(other))) continue;
      const auto indexed = files.index.find(name);
      problems.add(
          "tensor \"{}\" is in {} and in {} with different values{}. Remove the wrong one, or "
          "download the checkpoint again, all files of one version.",
          base::shown(name, longest_shown), base::shown(files.names[first.file], longest_shown),
          base::shown(files.names[other.file], longest_shown),
          indexed == files.index.end()
              ? ""
              : fmt::format(" (the index names {})", base::shown(indexed->second, longest_shown)));
    }
  problems.refuse(ExitCode::weights, folder_);
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, places] : places_)
    names.push_back(name);
  return names;
}

const StoredTensor* Checkpoint::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &at(found->second.front());
}

void Checkpoint::read(const StoredTensor& tensor, std::int64_t offset,
                      std::span<std::byte> to) const {
  files_[places_.at(tensor.name).front().file].read(tensor, offset, to);
}

bool Checkpoint::are_equal(const StoredTensor& a, const StoredTensor& b) const {
  return same_bytes(files_[places_.at(a.name).front().file], a,
                    files_[places_.at(b.name).front().file], b);
}

}  // namespace tetrarch::hf
