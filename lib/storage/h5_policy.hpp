/// The policy against hostile files: what is refused before anything of it is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "storage/h5.hpp"

namespace tetrarch::storage::h5::policy {

/// For the whole process: no plugin is loaded, nothing outside the file is followed.
void set();

/// Bytes of the regular file at `path`; throws as reading does.
std::int64_t size_of_file(const std::string& path, base::ExitCode code);

/// Whether `path` leads to an object over hard links only; another link is refused.
bool leads_somewhere(Id file, const std::string& path, const std::string& object,
                     base::ExitCode code);

/// Refuses a dataset whose data lie elsewhere, are not there, or need a filter or much memory.
void check_storage(Id dataset, const std::string& object, std::int64_t file_bytes,
                   base::ExitCode code);

/// Paths of all datasets below `group` of an open file that is called `name`, sorted.
std::vector<std::string> list(Id file, const std::string& group, const std::string& name,
                              base::ExitCode code);

}  // namespace tetrarch::storage::h5::policy
