/// Tells whether a file was written to or replaced since it was read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <sys/stat.h>

namespace tetrarch::storage {

/// Properties of a file that change when it is written to or replaced.
struct FileStamp {
  std::int64_t bytes = -1;
  std::int64_t written_ns = 0;  // time of the last write, since 1970
  std::int64_t inode = 0;
  bool operator==(const FileStamp&) const = default;
};

/// The stamp of the file at `path`; a default FileStamp if there is no such file.
inline FileStamp stamp_of(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {static_cast<std::int64_t>(status.st_size),
          static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec,
          static_cast<std::int64_t>(status.st_ino)};
}

}  // namespace tetrarch::storage
