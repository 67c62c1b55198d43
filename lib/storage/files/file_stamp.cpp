// SPDX-License-Identifier: Apache-2.0
#include "storage/files/file_stamp.hpp"

#include <sys/stat.h>

namespace tetrarch::storage {

FileStamp stamp_of(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {static_cast<std::int64_t>(status.st_size),
          static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec,
          static_cast<std::int64_t>(status.st_ino)};
}

}  // namespace tetrarch::storage
