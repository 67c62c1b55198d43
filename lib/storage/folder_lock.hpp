/// The lock that keeps a folder to one process.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/log.hpp"
#include "storage/durable.hpp"

namespace tetrarch::storage {

/// An advisory lock on a file that names its holder. The kernel frees it when the holder dies; one
/// who leaves in peace removes the file.
class FolderLock {
 public:
  /// Waits up to `wait_s` for another holder to finish, saying so once; then throws
  /// UsageError(resources) naming the holder's host and process.
  FolderLock(std::string path, double wait_s, base::Log& log);
  FolderLock(FolderLock&&) noexcept = default;
  FolderLock& operator=(FolderLock&&) noexcept = default;
  ~FolderLock();
  bool is_held() const { return file_.has_value(); }

 private:
  void open_file();
  bool take(double left_s, base::Log& log);
  void write_holder();

  std::string path_;
  Descriptor file_;
  bool has_said_ = false;
};

}  // namespace tetrarch::storage
