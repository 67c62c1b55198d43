/// What was given as a weights file, where it is none.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::storage {

/// Where the path leads to something that is no HDF5 file, says what it is and what to give
/// instead: a checkpoint's folder or file names `import`, a text names inputs. Passes over HDF5
/// files, over what is not there and what it does not know. Throws UsageError(weights).
void refuse_foreign_weights(const std::string& path);

}  // namespace tetrarch::storage
