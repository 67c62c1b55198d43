/// Which files are inputs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace tetrarch::storage {

/// The files meant by paths of files and folders, in order. Of a folder: by name, those that end in
/// .h5, .hdf5, .jsonl, .ndjson or .json, or one of the last three with .gz or .zst behind, in
/// capitals or not. `notes` (may be absent) then says for each folder what else lies in it. Throws
/// UsageError(input).
std::vector<std::string> input_files(const std::vector<std::string>& paths,
                                     std::vector<std::string>* notes = nullptr);

}  // namespace tetrarch::storage
