/// What a file is that should have been something else, by its first bytes.
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
  std::string advice;  // a sentence
};

constexpr std::size_t first_bytes = 64;  // as many as foreign_kind looks at

/// Absent: the bytes are of none of the kinds that users mix up with checkpoints: Git LFS pointers,
/// compressed files, PyTorch's and other formats of weights, pages of a server.
std::optional<ForeignKind> foreign_kind(std::string_view first, std::int64_t file_bytes);

/// Whether a header may follow its length, as in safetensors files; the length alone may look like
/// anything.
bool begins_as_safetensors(std::string_view first);

/// The first bytes of a regular file, as many as there are; "" where it cannot be read.
std::string first_bytes_of(const std::string& path);

}  // namespace tetrarch::storage
