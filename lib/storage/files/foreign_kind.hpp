/// Recognises files that users give instead of a checkpoint, by their first bytes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tetrarch::storage {

struct ForeignKind {
  std::string what;    // "is a Git LFS pointer (134 bytes), not the weights"
  std::string advice;  // one sentence
};

constexpr std::size_t first_bytes = 64;  // number of bytes that foreign_kind needs

/// The kind of a file that begins with `first` and has `file_bytes` bytes, if users often give that
/// kind instead of a checkpoint: Git LFS pointers, compressed files, PyTorch's and other formats of
/// weights, HTML pages. Absent for all other kinds.
std::optional<ForeignKind> foreign_kind(std::string_view first, std::int64_t file_bytes);

/// Whether byte 8 is '{'. In a safetensors file the header's length is in bytes 0 to 7 and its JSON
/// header begins at byte 8. The length alone can look like the signature of another kind.
bool begins_as_safetensors(std::string_view first);

/// The first 64 bytes of a regular file, fewer if it is shorter; "" if it cannot be read.
std::string first_bytes_of(const std::string& path);

}  // namespace tetrarch::storage
