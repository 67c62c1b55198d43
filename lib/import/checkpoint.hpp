/// The tensors of a Hugging Face checkpoint folder, found by name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "import/checkpoint_folder.hpp"
#include "import/safetensors.hpp"

namespace tetrarch::hf {

/// The tensors of all safetensors files of one checkpoint folder.
///
/// The checkpoint is refused if several files hold a tensor of the same name with different bytes,
/// or if a file lacks a tensor that the index places in it. Tensors that the index does not name
/// are used like the others; a remark says so.
class Checkpoint {
 public:
  /// Reads the headers of all files. Throws Refusal(weights) if the checkpoint is incomplete,
  /// damaged or contradicts itself.
  explicit Checkpoint(const std::string& folder);

  const std::string& folder() const { return folder_; }
  /// Names of all tensors, sorted.
  std::vector<std::string> names() const;
  /// The tensor of that name, owned by this object; null if the checkpoint has none.
  const StoredTensor* find(const std::string& name) const;
  /// Fills `to` with the tensor's bytes from byte `offset` of the tensor on.
  void read(const StoredTensor& tensor, std::int64_t offset, std::span<std::byte> to) const;
  /// Whether both have the same type, shape and bytes.
  bool are_equal(const StoredTensor& a, const StoredTensor& b) const;
  /// One sentence for each thing that was left out, or that the index does not name.
  const std::vector<std::string>& remarks() const { return remarks_; }

 private:
  struct Location {
    std::size_t file, tensor;
  };
  const StoredTensor& at(const Location& place) const {
    return files_[place.file].tensors()[place.tensor];
  }
  void open_all(const CheckpointFiles& files);
  void refuse_different_doubles(const CheckpointFiles& files) const;
  void check_index(const CheckpointFiles& files);

  std::string folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::vector<Location>> places_;  // by tensor name, in the order of files_
  std::vector<std::string> remarks_;
};

}  // namespace tetrarch::hf
