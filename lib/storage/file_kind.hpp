/// What a file is, by its first bytes; its name is asked only where these are plain text.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"

namespace tetrarch::storage {

/// What this program reads, and everything else.
enum class InputFormat { hdf5, lines, gzip, zstd, other };

struct FileKind {
  InputFormat format = InputFormat::other;
  std::string what;    // "Parquet", after "is"
  std::string advice;  // a sentence, for what is not read
};

/// So many bytes of a file's beginning tell its kind.
inline constexpr std::size_t kind_head_bytes = std::size_t{64} << 10;

/// `head`: the file's first bytes, all of them when `is_whole`. `name`: of the file; where it says
/// JSON lines, text that begins otherwise counts as lines too, the first of which are bad.
FileKind kind_of_bytes(std::string_view head, bool is_whole, const std::string& name);

/// Also looks for HDF5 behind a user block (at 512, 1024, 2048, ... bytes). Throws UsageError(code)
/// when the file cannot be read or is no regular file.
FileKind file_kind(const std::string& path, base::ExitCode code = base::ExitCode::input);
/// False also where the file cannot be read.
bool is_hdf5(const std::string& path);
/// JSON lines, as they are or compressed; false also where the file cannot be read.
bool holds_lines(const std::string& path);

/// Throws refusal_of(...) where the file is neither HDF5 nor JSON lines, compressed or not.
void refuse_other_kinds(const std::string& path, base::ExitCode code);

/// Whether the name ends as those of JSON lines do, in any case, perhaps with .gz or .zst behind.
bool is_named_lines(const std::string& path);
bool is_named_hdf5(const std::string& path);

/// The refusal of a file of another kind.
base::UsageError refusal_of(const std::string& path, const FileKind& kind,
                            base::ExitCode code = base::ExitCode::input);

}  // namespace tetrarch::storage
