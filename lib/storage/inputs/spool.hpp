/// Unpacks compressed inputs into the run folder, where every rank can read any line of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/log.hpp"
#include "storage/inputs/inputs_file.hpp"

namespace tetrarch::storage {

/// RUN_DIR/.tmp-spool. If a killed run leaves it behind, RunFolder removes it when the run folder
/// is opened next.
std::string spool_folder(const std::string& run_dir);

/// The unpacked copies of compressed inputs. Rank 0 makes them in a run folder that it holds. The
/// destructor removes them.
class Spool {
 public:
  /// Unpacks every compressed file of `inputs`. Throws SystemError(resources) if there is too
  /// little space, if possible before anything is written; Refusal(input) if the content of a
  /// file has changed since `inputs` was opened.
  Spool(const InputSet& inputs, const std::string& run_dir, base::Log& log);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

 private:
  void unpack(const std::string& path, const PackedInput& packed) const;

  std::string folder_;
};

}  // namespace tetrarch::storage
