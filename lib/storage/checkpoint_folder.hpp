/// Which files of a folder are a Hugging Face checkpoint, and what the folder is where it is none.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.hpp"

namespace tetrarch::storage {

/// Path of config.json in a folder.
std::string checkpoint_config_path(const std::string& folder);
/// Reads config.json. Where there is none, says what the folder is: a cache of the hub, a PEFT
/// adapter, a folder above the checkpoint. Throws UsageError(weights).
base::Json read_checkpoint_config(const std::string& folder);

struct CheckpointFiles {
  std::vector<std::string> names;            // of the files that hold its tensors, sorted
  std::map<std::string, std::string> index;  // tensor -> file, as the index says; else empty
  std::vector<std::string> remarks;          // a sentence for what was left out
};

/// model.safetensors, or the files that model.safetensors.index.json names. All that are missing,
/// or that are no safetensors files, are said in one message. Throws UsageError(weights).
CheckpointFiles find_checkpoint_files(const std::string& folder);

/// Names for a message: the first of them, and how many more.
std::string listed(const std::vector<std::string>& names);

}  // namespace tetrarch::storage
