/// What opening a foreign HDF5 file asks of the HDF5 library, without its bulk data: for a process
/// that may crash or hang over it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace tetrarch::storage {

/// What somebody is going to do with the file; `results`: see whether they are complete, and make
/// them again where they cannot be read.
enum class Purpose { weights, inputs, inspect, verify, results };

std::string_view name_of(Purpose purpose);
/// Throws UsageError(usage) for another word.
Purpose purpose_from(std::string_view word);

/// How a file that cannot be opened ends the program: it does not say what it was, so its name or
/// its purpose does.
base::ExitCode code_of(const std::string& path, Purpose purpose);

/// Reads every label that `purpose` reads, and texts of variable length, which the library keeps
/// like labels; calls `progress` now and then. Throws what opening the file for that purpose
/// throws.
void probe_file(const std::string& path, Purpose purpose, const std::function<void()>& progress);

/// The input files that merging or verifying a run folder opens: none once it is complete. Throws
/// UsageError(input) when it is no run folder.
std::vector<std::string> inputs_of_run(const std::string& run_dir);

}  // namespace tetrarch::storage
