/// Reads safetensors files; checks the header before any data is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/shape.hpp"
#include "storage/files/durable.hpp"

namespace tetrarch::hf {

/// The element types of checkpoints that can be read.
enum class CheckpointDType { f32, bf16, f16 };
/// Bytes of one element.
std::int64_t size_of(CheckpointDType dtype);
/// The name in safetensors headers, such as "BF16".
std::string_view name_of(CheckpointDType dtype);

/// A tensor as the header describes it. Its data is bytes [begin, end) of the file.
struct StoredTensor {
  std::string name;
  CheckpointDType dtype = CheckpointDType::f32;
  base::Shape shape;
  std::int64_t begin = 0, end = 0;
};

/// Parses and checks one header. `text` is its JSON; the data is bytes [data_begin, file_bytes) of
/// the file; `where` names the file in messages.
///
/// Throws Refusal(weights) unless every tensor lies inside the data and has as many bytes as its
/// shape needs, and all tensors together cover the data without overlap or gap.
std::vector<StoredTensor> parse_safetensors_header(std::string_view text, std::int64_t data_begin,
                                                   std::int64_t file_bytes,
                                                   const std::string& where);

/// An open safetensors file.
class SafetensorsFile {
 public:
  /// Opens the file, reads and checks its header. Throws Refusal(weights).
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// Reads bytes [offset, offset + to.size()) of a tensor. Throws Refusal(weights).
  void read(const StoredTensor& tensor, std::int64_t offset, std::span<std::byte> to) const;

 private:
  std::string path_;
  storage::Descriptor file_;
  std::vector<StoredTensor> tensors_;
};

}  // namespace tetrarch::hf
