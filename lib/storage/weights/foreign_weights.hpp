/// Says what a file or folder is that was given as a weights file and is none.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::storage {

/// Throws Refusal(weights) if `path` is a folder, or a file of a known kind that is not HDF5.
/// The message says what it is and what to do: use `import` for a checkpoint's folder or file, give
/// a text as an input. Returns if `path` is an HDF5 file, does not exist or is of an unknown kind.
void refuse_foreign_weights(const std::string& path);

}  // namespace tetrarch::storage
