/// Tells the kind of a file, given as inputs or as weights, from its first bytes. Its name is used
/// only if these are plain text.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace tetrarch::storage {

/// The formats that this program reads (`lines`: JSON lines), and `other` for the rest.
enum class InputFormat { hdf5, lines, gzip, zstd, other };

struct FileKind {
  InputFormat format = InputFormat::other;
  std::string what;    // "Parquet"; follows "is" in messages
  std::string advice;  // one sentence, for format `other`
};

/// Number of bytes from the beginning of a file that kind_of_bytes needs.
inline constexpr std::size_t kind_head_bytes = std::size_t{64} << 10;

/// The kind of a file.
///
/// head  the file's first bytes; the whole file if `is_whole`
/// name  the file's name; if it ends as a name of JSON lines does, a text that does not begin with
///       an object also counts as JSON lines, and its bad lines are reported when they are read
FileKind kind_of_bytes(std::string_view head, bool is_whole, const std::string& name);

/// The kind of the file at `path`. HDF5 is also found after a user block of 512, 1024, 2048, ...
/// bytes. Throws Refusal(code) if the file cannot be read or is no regular file.
FileKind file_kind(const std::string& path, base::ExitCode code = base::ExitCode::input);
/// Whether the file is HDF5; false if it cannot be read.
bool is_hdf5(const std::string& path);
/// Whether the file is plain or compressed JSON lines; false if it cannot be read. What a gzip or
/// zstd file contains is not examined.
bool holds_lines(const std::string& path);

/// Throws refusal_of(...) if the file is neither HDF5 nor plain or compressed JSON lines.
void refuse_other_kinds(const std::string& path, base::ExitCode code);

/// Whether the name ends in .jsonl, .ndjson or .json, perhaps followed by .gz or .zst. Upper and
/// lower case are equal.
bool is_named_lines(const std::string& path);
/// Whether the name ends in .h5 or .hdf5. Upper and lower case are equal.
bool is_named_hdf5(const std::string& path);

/// The error for a file of format `other`, to be thrown.
base::Refusal refusal_of(const std::string& path, const FileKind& kind,
                         base::ExitCode code = base::ExitCode::input);

/// The kind of a file that was given as weights and is none.
struct ForeignKind {
  std::string what;    // "is a Git LFS pointer (134 bytes), not the weights"
  std::string advice;  // one sentence
};

inline constexpr std::size_t first_bytes = 64;  // number of bytes that foreign_kind needs

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
