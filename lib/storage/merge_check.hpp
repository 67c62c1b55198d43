/// Reads results back before they count.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::storage {

/// Compares every dataset of a closed file with its attribute xxh3, in 16 MiB of memory: HDF5 can
/// lose rows on a full disk and report success. Throws SystemError(resources) naming the dataset.
void check_written(const std::string& path);

}  // namespace tetrarch::storage
