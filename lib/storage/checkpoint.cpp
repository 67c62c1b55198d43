// A Hugging Face checkpoint folder: its config and where each tensor lies.
// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include <fmt/format.h>

#include "base/text.hpp"
#include "plan/problems.hpp"
#include "storage/safetensors.hpp"

namespace tetrarch::storage {
namespace {

namespace fs = std::filesystem;
using base::ExitCode;
using base::Json;
using base::UsageError;

constexpr std::int64_t largest_json = 100'000'000;  // bytes
constexpr std::size_t longest_shown = 200;          // bytes of a name in messages

Json read_json(const std::string& path) {
  const std::string text = read_text_file(path, largest_json, ExitCode::weights);
  return base::parse_json(text, path, ExitCode::weights);
}

/// A plain name: the index may not lead out of the folder.
bool is_shard_name(const std::string& name) {
  return name.find('/') == std::string::npos && name.find('\0') == std::string::npos &&
         name.size() > 12 && name.ends_with(".safetensors") && name.front() != '.';
}

}  // namespace

Checkpoint::Checkpoint(const std::string& folder) : folder_(folder) {
  config_ = read_json(config_path());
  const std::string single = (fs::path(folder) / "model.safetensors").string();
  const std::string index = single + ".index.json";
  std::error_code error;
  if (fs::exists(single, error))
    open_single(single);
  else if (fs::exists(index, error))
    open_shards(index);
  else
    throw UsageError(ExitCode::weights,
                     fmt::format("{}: has neither model.safetensors nor "
                                 "model.safetensors.index.json (other formats are not read). "
                                 "Download the checkpoint's safetensors files.",
                                 folder));
}

std::string Checkpoint::config_path() const {
  return (fs::path(folder_) / "config.json").string();
}

void Checkpoint::open_single(const std::string& path) {
  files_.emplace_back(path);
  const auto& tensors = files_.back().tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i)
    places_[tensors[i].name] = {0, i};
}

void Checkpoint::open_shards(const std::string& index_path) {
  const Json index = read_json(index_path);
  if (!index.is_object() || !index.contains("weight_map") || !index.at("weight_map").is_object())
    throw UsageError(ExitCode::weights, fmt::format("{}: has no object \"weight_map\". Download or "
                                                    "copy the file again.",
                                                    index_path));
  plan::Problems problems;
  std::map<std::string, std::vector<std::string>> names_of_shard;
  for (const auto& [name, shard] : index.at("weight_map").items()) {
    if (shard.is_string() && is_shard_name(shard.get_ref<const std::string&>()))
      names_of_shard[shard.get<std::string>()].push_back(name);
    else
      problems.add(
          "tensor \"{}\" is said to be in {} (expected the name of a .safetensors file in "
          "the same folder). Download or copy the file again.",
          base::shown(name, longest_shown), base::shown(shard.dump(), longest_shown));
  }
  problems.refuse(ExitCode::weights, index_path);
  for (const auto& [shard, names] : names_of_shard) {
    files_.emplace_back((fs::path(folder_) / shard).string());
    std::map<std::string, std::size_t> present;
    const auto& tensors = files_.back().tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i)
      present[tensors[i].name] = i;
    for (const std::string& name : names) {
      const auto found = present.find(name);
      if (found == present.end())
        problems.add(
            "tensor \"{}\" is said to be in {}, which has none of that name. Download the "
            "checkpoint again, all files of one version.",
            base::shown(name, longest_shown), base::shown(shard, longest_shown));
      else
        places_[name] = {files_.size() - 1, found->second};
    }
  }
  problems.refuse(ExitCode::weights, index_path);
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_)
    names.push_back(name);
  return names;
}

const StoredTensor* Checkpoint::find(const std::string& name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) return nullptr;
  return &files_[found->second.file].tensors()[found->second.tensor];
}

void Checkpoint::read(const StoredTensor& tensor, std::int64_t offset,
                      std::span<std::byte> to) const {
  files_[places_.at(tensor.name).file].read(tensor, offset, to);
}

}  // namespace tetrarch::storage
