/// Which files are inputs, and of which kind.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace tetrarch::storage {

enum class InputFormat { hdf5, jsonl };

/// By the extension: .jsonl, .ndjson and .json are JSON lines, all else is HDF5.
InputFormat input_format(const std::string& path);

/// The files meant by paths of files and folders, in order. Of a folder: by name, those whose
/// extension is .h5, .hdf5, .jsonl, .ndjson or .json. Throws UsageError(input).
std::vector<std::string> input_files(const std::vector<std::string>& paths);

}  // namespace tetrarch::storage
