/// Compressed inputs, unpacked where every rank can read any line of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/log.hpp"
#include "storage/inputs_file.hpp"

namespace tetrarch::storage {

/// A temporary folder of the run folder: whoever opens that next removes what a killed run left.
std::string spool_folder(const std::string& run_dir);

/// Made by rank 0 in a folder that it holds; the folder goes with the object.
class Spool {
 public:
  /// Unpacks every compressed file of `inputs` once. Throws SystemError(resources) where there is
  /// no room, before anything is written if that can be seen, and UsageError(input) where a file is
  /// no longer what it was when `inputs` was opened.
  Spool(const InputSet& inputs, const std::string& run_dir, base::Log& log);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

 private:
  void unpack(const std::string& path, const PackedInput& packed) const;

  std::string folder_;
};

}  // namespace tetrarch::storage
