/// safetensors files and checkpoint folders: headers proved before any data is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/shape.hpp"
#include "storage/durable.hpp"

namespace tetrarch::storage {

enum class CheckpointDType { f32, bf16, f16 };
std::int64_t size_of(CheckpointDType dtype);

/// A tensor as a header describes it; offsets are from the file's first byte.
struct StoredTensor {
  std::string name;
  CheckpointDType dtype = CheckpointDType::f32;
  base::Shape shape;
  std::int64_t begin = 0, end = 0;
};

/// Parses and proves one header: `text` is the JSON, the data lie at [data_begin, file_bytes).
/// Every tensor lies inside, has the bytes of its shape, and together they cover the data without
/// overlap or hole. Throws UsageError(weights).
std::vector<StoredTensor> parse_safetensors_header(std::string_view text, std::int64_t data_begin,
                                                   std::int64_t file_bytes,
                                                   const std::string& where);

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// Bytes [offset, offset + to.size()) of a tensor. Throws UsageError(weights).
  void read(const StoredTensor& tensor, std::int64_t offset, std::span<std::byte> to) const;

 private:
  std::string path_;
  Descriptor file_;
  std::vector<StoredTensor> tensors_;
};

/// A folder with config.json and model.safetensors, or the shards of model.safetensors.index.json.
class Checkpoint {
 public:
  explicit Checkpoint(const std::string& folder);

  const std::string& folder() const { return folder_; }
  const base::Json& config() const { return config_; }
  std::string config_path() const;
  /// Sorted.
  std::vector<std::string> names() const;
  /// Null: the checkpoint has none of that name.
  const StoredTensor* find(const std::string& name) const;
  void read(const StoredTensor& tensor, std::int64_t offset, std::span<std::byte> to) const;

 private:
  struct Place {
    std::size_t file, tensor;
  };
  void open_single(const std::string& path);
  void open_shards(const std::string& index_path);

  std::string folder_;
  base::Json config_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Place> places_;
};

}  // namespace tetrarch::storage
