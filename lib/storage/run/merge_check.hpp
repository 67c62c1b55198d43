/// Reads a results file back before it is published.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::storage {

/// Reads every dataset of a closed file and compares its checksum with its attribute xxh3, because
/// HDF5 can lose rows on a full disk and still report success. Needs 16 MiB of memory. Throws
/// SystemError(resources) that names the dataset.
void check_written(const std::string& path);

}  // namespace tetrarch::storage
