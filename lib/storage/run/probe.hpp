/// Makes the HDF5 calls that opening a foreign file for a purpose makes, without reading its bulk
/// data. It is called in a child process, because the HDF5 library may crash or hang on a damaged
/// file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace tetrarch::storage {

/// What the file is opened for. `results`: to see whether they are complete; if they cannot be
/// read, they are made again.
enum class Purpose { weights, inputs, inspect, verify, results };

std::string_view name_of(Purpose purpose);
/// The purpose of that name. Throws Refusal(usage) for another word.
Purpose purpose_from(std::string_view word);

/// The exit code for a file that cannot be opened: weights if the purpose, or a name that contains
/// "weights", says that it is a weights file; else input.
base::ExitCode code_of(const std::string& path, Purpose purpose);

/// Reads all attributes and properties of datasets that `purpose` reads. Also reads texts of
/// variable length, which are stored in the global heap like attributes. Calls `progress` between
/// blocks. Throws what opening the file for that purpose throws.
void probe_file(const std::string& path, Purpose purpose, const std::function<void()>& progress);

/// The input files that merging or verifying a run folder opens; none if its results are complete.
/// Throws Refusal(input) if it is no run folder.
std::vector<std::string> inputs_of_run(const std::string& run_dir);

}  // namespace tetrarch::storage
