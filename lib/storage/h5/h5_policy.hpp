/// Checks against hostile files, made before the data they concern is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "storage/h5/h5_types.hpp"

namespace tetrarch::storage::h5::policy {

/// Settings for the whole process: HDF5 loads no plugins and does not follow external links.
void set();

/// Size in bytes of the regular file at `path`. Throws as raw::refuse(code) if it cannot be read or
/// is no regular file.
std::int64_t size_of_file(const std::string& path, base::ExitCode code);

/// Whether `path` leads to an object. Throws as raw::refuse(code) if it leads over a link that is
/// not a hard link.
bool leads_somewhere(Id file, const std::string& path, const std::string& object,
                     base::ExitCode code);

/// Throws as raw::refuse(code) if the dataset is virtual, is stored in another file, has data
/// beyond the end of the file (`file_bytes`), or needs a filter or a chunk size that is not
/// allowed.
void check_storage(Id dataset, const std::string& object, std::int64_t file_bytes,
                   base::ExitCode code);

/// Paths of all datasets below `group`, sorted. `name`: the file's name in messages.
std::vector<std::string> list(Id file, const std::string& group, const std::string& name,
                              base::ExitCode code);

}  // namespace tetrarch::storage::h5::policy
