/// A file that is being written, and gets its name only when it is complete.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/stop_signal.hpp"

namespace tetrarch::storage {

/// The temporary name of the file `path`. The destructor, or a signal that ends the process,
/// removes the file of that name unless it was published.
class TemporaryFile {
 public:
  /// A new name in the same folder.
  explicit TemporaryFile(const std::string& path);
  /// The name `temporary`, in the same file system.
  TemporaryFile(std::string path, std::string temporary);
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile();

  const std::string& path() const { return temporary_; }
  /// Gives the closed file its final name, as storage::publish() does.
  void publish();

 private:
  std::string final_, temporary_;
  base::RemovedOnSignal removed_on_signal_;
};

}  // namespace tetrarch::storage
