/// Whether a file is still the one that was read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace tetrarch::storage {

/// What changes when a file is written to or replaced.
struct FileStamp {
  std::int64_t bytes = -1;
  std::int64_t written_ns = 0;  // since 1970
  std::int64_t inode = 0;
  bool operator==(const FileStamp&) const = default;
};

/// The default one where there is no such file.
FileStamp stamp_of(const std::string& path);

}  // namespace tetrarch::storage
