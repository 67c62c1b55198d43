/// A Hugging Face checkpoint's tensors: all headers read, every name with one value.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "storage/checkpoint_folder.hpp"
#include "storage/safetensors.hpp"

namespace tetrarch::storage {

/// A name that lies in several files has equal bytes in all of them, and each file holds what the
/// index says of it; else the checkpoint is refused. What its files hold beyond the index counts
/// like the rest.
class Checkpoint {
 public:
  /// Throws UsageError(weights).
  explicit Checkpoint(const std::string& folder);

  const std::string& folder() const { return folder_; }
  /// Sorted.
  std::vector<std::string> names() const;
  /// Null: the checkpoint has none of that name.
  const StoredTensor* find(const std::string& name) const;
  void read(const StoredTensor& tensor, std::int64_t offset, std::span<std::byte> to) const;
  /// Whether both have the same type, shape and bytes.
  bool are_equal(const StoredTensor& a, const StoredTensor& b) const;
  /// Sentences on what was left out, or found beyond what the index says.
  const std::vector<std::string>& remarks() const { return remarks_; }

 private:
  struct Place {
    std::size_t file, tensor;
  };
  const StoredTensor& at(const Place& place) const {
    return files_[place.file].tensors()[place.tensor];
  }
  void open_all(const CheckpointFiles& files);
  void refuse_different_doubles(const CheckpointFiles& files) const;
  void check_index(const CheckpointFiles& files);

  std::string folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::vector<Place>> places_;  // in the order of files
  std::vector<std::string> remarks_;
};

}  // namespace tetrarch::storage
