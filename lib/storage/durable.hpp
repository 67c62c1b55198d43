/// Files that are either wholly there or not at all, and the lock that keeps a folder to one
/// process.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/handle.hpp"
#include "base/log.hpp"

namespace tetrarch::storage {

struct CloseDescriptor {
  static int empty() { return -1; }
  void operator()(int descriptor) const noexcept;
};
using Descriptor = base::Handle<int, CloseDescriptor>;

/// Forces a file, or a folder's entries, to the disk. Throws SystemError(resources).
void sync_path(const std::string& path);
/// Gives a closed file its final name, durably: sync, rename, sync of the folder.
void publish(const std::string& temporary, const std::string& final_path);
/// Writes a whole text under its name, by way of a temporary file beside it.
void write_atomically(const std::string& path, const std::string& text);
/// All of a file of at most `max_bytes`. Throws UsageError(input).
std::string read_text_file(const std::string& path, std::int64_t max_bytes);
/// XXH3 of a file's bytes, 16 hex digits, read in bounded memory.
std::string file_xxh3(const std::string& path);

/// An advisory lock on a file that names its holder. The kernel frees it when the holder dies.
class FolderLock {
 public:
  /// Waits up to `wait_s` for another holder to finish, saying so once; then throws
  /// UsageError(resources) naming the holder's host and process.
  FolderLock(const std::string& path, double wait_s, base::Log& log);
  FolderLock(FolderLock&&) noexcept = default;
  FolderLock& operator=(FolderLock&&) noexcept = default;
  ~FolderLock();

 private:
  Descriptor file_;
};

}  // namespace tetrarch::storage
