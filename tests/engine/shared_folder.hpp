/// A temporary folder that all ranks of a test use.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>

#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// Collective. Rank 0 creates the folder, and removes it when all ranks are done.
class SharedFolder {
 public:
  explicit SharedFolder(const mpi::Communicator& world) : world_(world) {
    std::string name = (std::filesystem::temp_directory_path() / "tetrarch-XXXXXX").string();
    path_ = world.broadcast(world.rank() == 0 ? std::string(::mkdtemp(name.data())) : "", 0);
  }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  ~SharedFolder() {
    world_.barrier();
    if (world_.rank() == 0) std::filesystem::remove_all(path_);
  }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  /// Calls `write` on rank 0; no rank returns before it is done.
  void on_root(const std::function<void()>& write) const {
    if (world_.rank() == 0) write();
    world_.barrier();
  }

 private:
  const mpi::Communicator& world_;
  std::string path_;
};

}  // namespace tetrarch::engine
