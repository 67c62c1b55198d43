/// safetensors files: headers proved before any data is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/shape.hpp"
#include "storage/durable.hpp"

namespace tetrarch::storage {

enum class CheckpointDType { f32, bf16, f16 };
std::int64_t size_of(CheckpointDType dtype);
/// As a header spells it: "BF16".
std::string_view name_of(CheckpointDType dtype);

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

}  // namespace tetrarch::storage
