/// A lock that lets only one process use a folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/log.hpp"
#include "storage/files/durable.hpp"

namespace tetrarch::storage {

/// An advisory lock (flock) on a file; the file names the process that holds it. The kernel frees
/// the lock when that process ends. The destructor also removes the file.
class FolderLock {
 public:
  /// Takes the lock on the file `path`, which is created if needed. While another process holds it,
  /// waits up to `wait_s` seconds and says so once; then throws Refusal(resources) with that
  /// process's host and id. If the file system has no locks, notes that in the log and goes on.
  /// Throws SystemError(resources) if the file cannot be written.
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
