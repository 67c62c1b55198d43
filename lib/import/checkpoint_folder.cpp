// Finds the files of a Hugging Face checkpoint in a folder. Other folders are refused by a message
// that says what they are.
// SPDX-License-Identifier: Apache-2.0
#include "import/checkpoint_folder.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.hpp"
#include "plan/problems.hpp"
#include "storage/files/durable.hpp"
#include "storage/files/file_kind.hpp"

namespace tetrarch::hf {
namespace {

using storage::begins_as_safetensors;
using storage::first_bytes_of;
using storage::foreign_kind;
using storage::ForeignKind;
using storage::read_text_file;

namespace fs = std::filesystem;
using base::ExitCode;
using base::Json;
using base::Refusal;
using Names = std::vector<std::string>;

constexpr std::int64_t largest_json = 100'000'000;  // bytes
constexpr std::size_t longest_shown = 200;          // bytes of a name in messages
constexpr std::size_t most_listed = 20;             // names in one message
constexpr const char* single_name = "model.safetensors";
constexpr const char* index_name = "model.safetensors.index.json";

std::string path_in(const std::string& folder, const std::string& name) {
  return (fs::path(folder) / name).string();
}

bool is_there(const std::string& folder, const std::string& name) {
  std::error_code error;
  return fs::exists(path_in(folder, name), error);
}

/// Names of a folder's entries, sorted; empty if the folder cannot be read.
Names entries(const std::string& folder) {
  Names names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename().string());
  std::ranges::sort(names);
  return names;
}

template <class Keep>
Names entries_that(const std::string& folder, Keep&& keep) {
  Names names = entries(folder);
  std::erase_if(names, [&](const std::string& name) { return !keep(name); });
  return names;
}

[[noreturn]] void refuse(const std::string& message) {
  throw Refusal(ExitCode::weights, message);
}

Json read_json(const std::string& path) {
  const std::string text = read_text_file(path, largest_json, ExitCode::weights);
  if (const auto kind = foreign_kind(text, static_cast<std::int64_t>(text.size())))
    refuse(fmt::format("{}: {}. {}", path, kind->what, kind->advice));
  return base::parse_json(text, path, ExitCode::weights);
}

/// Whether the index may name this file: a plain name without '/', so that the index cannot lead
/// out of the folder.
bool is_shard_name(const std::string& name) {
  return name.find('/') == std::string::npos && name.find('\0') == std::string::npos &&
         name.size() > 12 && name.ends_with(".safetensors") && name.front() != '.';
}

// A folder without config.json.

/// The Hugging Face cache keeps a model as models--ORG--NAME/{blobs,refs,snapshots}. Each folder in
/// snapshots is a checkpoint.
void refuse_hub_cache(const std::string& folder) {
  Names snapshots = entries(path_in(folder, "snapshots"));
  if (!snapshots.empty()) {
    for (std::string& name : snapshots)
      name.insert(0, "snapshots/");
    refuse(
        fmt::format("{}: is a cache of the Hugging Face hub, not a checkpoint. Give its folder {}.",
                    folder, fmt::join(snapshots, " or ")));
  }
  const Names models =
      entries_that(folder, [](const std::string& name) { return name.starts_with("models--"); });
  if (!models.empty())
    refuse(
        fmt::format("{}: is a cache of the Hugging Face hub with several models ({}). Give the "
                    "folder models--ORG--NAME/snapshots/VERSION of one model.",
                    folder, listed(models)));
}

void refuse_other_folders(const std::string& folder) {
  if (is_there(folder, "adapter_config.json"))
    refuse(
        fmt::format("{}: is a PEFT adapter (it has adapter_config.json and no config.json). Merge "
                    "it into its model (merge_and_unload) and save the merged model.",
                    folder));
  if (is_there(folder, "params.json"))
    refuse(
        fmt::format("{}: is a model in Mistral's own format (it has params.json and no "
                    "config.json). Use its Hugging Face version.",
                    folder));
  const Names below = entries_that(folder, [&](const std::string& name) {
    return is_there(path_in(folder, name), "config.json");
  });
  if (!below.empty())
    refuse(fmt::format("{}: has no config.json, but its folder {} has one. Give that folder.",
                       folder, fmt::join(below, " or ")));
}

void refuse_without_config(const std::string& folder) {
  std::error_code error;
  const bool is_folder_there = fs::exists(folder, error);
  const bool has_config = !error && fs::exists(path_in(folder, "config.json"), error);
  if (error || has_config) return;  // the caller reads it and reports the reason
  if (!is_folder_there)
    refuse(
        fmt::format("{}: there is no such folder (this program does not download models). Download "
                    "the model with `hf download` and give its folder.",
                    folder));
  if (fs::is_symlink(path_in(folder, "config.json"), error))
    refuse(
        fmt::format("{}: is a symbolic link whose target does not exist (the download was "
                    "interrupted, or the link was moved without its target). Download it again.",
                    path_in(folder, "config.json")));
  const Names weights =
      entries_that(folder, [](const std::string& name) { return name.ends_with(".safetensors"); });
  refuse(fmt::format(
      "{}: has no config.json{}. Download the config.json of the same version as the weights.",
      folder, weights.empty() ? "" : fmt::format(" beside {}", listed(weights))));
}

// A folder without weights.

/// Advice for a folder whose only safetensors file does not have the usual name.
std::string advice_on_lone(const std::string& name) {
  if (name.find("-of-") != std::string::npos)
    return fmt::format("It is one of several files: download all of them, and {}.", index_name);
  if (name.starts_with("adapter"))
    return "It is an adapter: merge it into its model (merge_and_unload) and save the merged "
           "model.";
  if (name.starts_with("consolidated"))
    return "It is in Mistral's own format: download the model's Hugging Face files.";
  return fmt::format("If it is the whole model, rename it to {}.", single_name);
}

[[noreturn]] void refuse_without_weights(const std::string& folder) {
  const auto with_end = [&](std::initializer_list<const char*> ends) {
    return entries_that(folder, [&](const std::string& name) {
      return std::ranges::any_of(ends, [&](const char* end) { return name.ends_with(end); });
    });
  };
  const std::string neither =
      fmt::format("{}: has neither {} nor {}", folder, single_name, index_name);
  std::error_code error;
  for (const char* name : {single_name, index_name})
    if (fs::is_symlink(path_in(folder, name), error))
      refuse(
          fmt::format("{}: is a symbolic link whose target does not exist (the download was "
                      "interrupted, or the link was moved without its target). Download it again.",
                      path_in(folder, name)));
  if (const Names found = with_end({".safetensors"}); found.size() == 1)
    refuse(fmt::format("{}, but {}. {}", neither, found.front(), advice_on_lone(found.front())));
  else if (!found.empty())
    refuse(
        fmt::format("{}, but {} safetensors files ({}). Download the index as well: it says which "
                    "files belong together.",
                    neither, found.size(), listed(found)));
  if (const Names found = with_end({".bin", ".pt", ".pth", ".ckpt"}); !found.empty())
    refuse(fmt::format(
        "{}, but files of PyTorch, which are not read ({}). Download the safetensors files, or "
        "load the model with transformers and write it with save_pretrained().",
        neither, listed(found)));
  if (const Names found = with_end({".gguf"}); !found.empty())
    refuse(
        fmt::format("{}, but files of llama.cpp, which are not read ({}). Use the safetensors "
                    "files that they were made from.",
                    neither, listed(found)));
  if (const Names found = with_end({".gz", ".zst", ".xz", ".bz2", ".zip", ".tar"}); !found.empty())
    refuse(fmt::format("{}, but {}, which are packed. Unpack them first.", neither, listed(found)));
  refuse(neither + " (other formats are not read). Download the checkpoint's safetensors files.");
}

// The index and its files.

std::map<std::string, std::string> read_index(const std::string& path) {
  const Json index = read_json(path);
  if (!index.is_object() || !index.contains("weight_map") || !index.at("weight_map").is_object())
    refuse(fmt::format("{}: has no object \"weight_map\". Download or copy the file again.", path));
  plan::Problems problems;
  std::map<std::string, std::string> file_of;
  for (const auto& [name, shard] : index.at("weight_map").items()) {
    if (shard.is_string() && is_shard_name(shard.get_ref<const std::string&>()))
      file_of[name] = shard.get<std::string>();
    else
      problems.add(
          "the index places tensor \"{}\" in {} (expected the name of a .safetensors file in the "
          "same folder). Download or copy the file again.",
          base::shown(name, longest_shown), base::shown(shard.dump(), longest_shown));
  }
  problems.refuse(ExitCode::weights, path);
  if (file_of.empty())
    refuse(fmt::format("{}: names no tensor. Download or copy the file again.", path));
  return file_of;
}

void refuse_missing(const std::string& folder, const Names& missing, std::size_t num_files) {
  if (missing.empty()) return;
  std::error_code error;
  const bool has_link = std::ranges::any_of(missing, [&](const std::string& name) {
    return fs::is_symlink(path_in(folder, name), error);
  });
  refuse(fmt::format("{}: {} of the {} files that {} names are missing ({}): {}. Download them.",
                     folder, missing.size(), num_files, index_name,
                     has_link ? "symbolic links whose targets do not exist: the download was "
                                "interrupted, or the links were moved without their targets"
                              : "not found; was the download interrupted?",
                     listed(missing)));
}

/// Whether the first bytes are all text. Those of a safetensors file never are: its first eight
/// bytes are the header's size, which is below 2^32, so some of them are 0.
bool is_text(const std::string& first) {
  return first.size() >= 8 && std::ranges::all_of(first, [](char c) {
           return (c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t';
         });
}

/// Refuses files that are no safetensors files (Git LFS pointers, HTML pages, archives, ...). One
/// message names all files that need the same advice, because they often occur together.
void refuse_foreign(const std::string& folder, const Names& names) {
  Names foreign;
  std::optional<ForeignKind> kind;
  for (const std::string& name : names) {
    const std::string path = path_in(folder, name), first = first_bytes_of(path);
    std::error_code error;
    if (begins_as_safetensors(first)) continue;
    auto found = foreign_kind(first, static_cast<std::int64_t>(fs::file_size(path, error)));
    if (!found && is_text(first))
      found = ForeignKind{
          fmt::format("is a text, not tensors (it begins with \"{}\")", base::shown(first, 40)),
          "Download the file again."};
    if (!found) continue;
    if (!kind) kind = found;
    if (kind->advice == found->advice) foreign.push_back(name);
  }
  if (foreign.size() == 1)
    refuse(fmt::format("{}: {}. {}", path_in(folder, foreign[0]), kind->what, kind->advice));
  if (!foreign.empty())
    refuse(fmt::format("{}: {} of {} files are no safetensors files: {}. The first {}. {}", folder,
                       foreign.size(), names.size(), listed(foreign), kind->what, kind->advice));
}

void remark_left_out(const std::string& folder, CheckpointFiles& files) {
  const std::set<std::string> used(files.names.begin(), files.names.end());
  const Names left_out = entries_that(folder, [&](const std::string& name) {
    return name.ends_with(".safetensors") && !used.count(name);
  });
  if (!left_out.empty())
    files.remarks.push_back(fmt::format("{} left out: {}.", listed(left_out),
                                        files.index.empty()
                                            ? fmt::format("{} is the whole checkpoint", single_name)
                                            : fmt::format("{} does not name them", index_name)));
  if (is_there(folder, "adapter_config.json"))
    files.remarks.push_back("adapter_config.json: the adapter beside the model is not applied.");
}

CheckpointFiles files_of_index(const std::string& folder) {
  CheckpointFiles files;
  files.index = read_index(path_in(folder, index_name));
  std::set<std::string> names;
  for (const auto& [tensor, file] : files.index)
    names.insert(file);
  Names missing;
  for (const std::string& name : names)
    if (!is_there(folder, name)) missing.push_back(name);
  if (is_there(folder, single_name) && !names.count(single_name)) {
    if (missing.size() != names.size())
      refuse(
          fmt::format("{}: has two checkpoints, {} and the files that {} names ({}). Move one "
                      "of them away.",
                      folder, single_name, index_name, listed({names.begin(), names.end()})));
    return {
        {single_name},
        {},
        {fmt::format(
            "{} is not used, because none of the files that it names exists; {} is used instead.",
            index_name, single_name)}};
  }
  refuse_missing(folder, missing, names.size());
  files.names.assign(names.begin(), names.end());
  return files;
}

}  // namespace

std::string listed(const Names& names) {
  Names first;
  for (std::size_t i = 0; i < std::min(names.size(), most_listed); ++i)
    first.push_back(base::shown(names[i], longest_shown));
  std::string text = fmt::format("{}", fmt::join(first, ", "));
  if (first.size() < names.size()) text += fmt::format(" and {} more", names.size() - first.size());
  return text;
}

std::string checkpoint_config_path(const std::string& folder) {
  return path_in(folder, "config.json");
}

Json read_checkpoint_config(const std::string& folder) {
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error))
    refuse(fmt::format("{}: is a file. Give the folder that has config.json and the weights.",
                       folder));
  if (!is_there(folder, "config.json")) {
    refuse_hub_cache(folder);
    refuse_other_folders(folder);
    refuse_without_config(folder);
  }
  return read_json(checkpoint_config_path(folder));
}

CheckpointFiles find_checkpoint_files(const std::string& folder) {
  CheckpointFiles files;
  if (is_there(folder, index_name))
    files = files_of_index(folder);
  else if (is_there(folder, single_name))
    files.names = {single_name};
  else
    refuse_without_weights(folder);
  refuse_foreign(folder, files.names);
  remark_left_out(folder, files);
  return files;
}

}  // namespace tetrarch::hf
