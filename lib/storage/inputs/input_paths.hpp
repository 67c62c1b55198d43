/// Lists the input files that given paths of files and folders mean.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace tetrarch::storage {

/// Input files, in the order of `paths`, which name files and folders. A folder stands for its
/// files whose names end in .h5, .hdf5, .jsonl, .ndjson or .json (the last three perhaps followed
/// by .gz or .zst), in upper or lower case, sorted by name. If `notes` is given, it gets one
/// sentence for each folder that also holds other entries. Throws Refusal(input) if there is no
/// input, or a folder cannot be read.
std::vector<std::string> input_files(const std::vector<std::string>& paths,
                                     std::vector<std::string>* notes = nullptr);

}  // namespace tetrarch::storage
