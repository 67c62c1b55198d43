/// Finds the files of a Hugging Face checkpoint in a folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.hpp"

namespace tetrarch::hf {

/// Path of config.json in a folder.
std::string checkpoint_config_path(const std::string& folder);
/// Reads config.json of a checkpoint folder. Throws Refusal(weights) if it is missing or cannot
/// be parsed. If it is missing, the message says what the folder is instead: a cache of the hub, a
/// PEFT adapter, a folder above the checkpoint, ...
base::Json read_checkpoint_config(const std::string& folder);

struct CheckpointFiles {
  std::vector<std::string> names;            // of the files that hold the tensors, sorted
  std::map<std::string, std::string> index;  // tensor -> file by the index; empty if none is used
  std::vector<std::string> remarks;          // one sentence for each thing that is not used
};

/// Finds model.safetensors, or the files that model.safetensors.index.json names. Throws
/// Refusal(weights) if files are missing or are no safetensors files; one message names them.
CheckpointFiles find_checkpoint_files(const std::string& folder);

/// Text for a message: at most the first 20 names, then how many more there are.
std::string listed(const std::vector<std::string>& names);

}  // namespace tetrarch::hf
