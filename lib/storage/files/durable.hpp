/// Durable writing: a file has its final name only when it is complete and on the disk. Also small
/// functions that read files and folders.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/handle.hpp"

namespace tetrarch::storage {

struct CloseDescriptor {
  static int empty() { return -1; }
  void operator()(int descriptor) const noexcept;
};
using Descriptor = base::Handle<int, CloseDescriptor>;

/// Throws SystemError(resources): "PATH: cannot be WHAT (REASON)". `what` is a verb such as
/// "written"; `error` is a value of errno.
[[noreturn]] void fail_file(const std::string& path, const char* what, int error);

/// Forces a file's data, or a folder's entries, to the disk (fsync). Throws SystemError(resources).
void sync_path(const std::string& path);
/// Renames a closed file to its final name so that it survives a crash: syncs the file, renames it,
/// syncs its folder. Throws SystemError(resources).
void publish(const std::string& temporary, const std::string& final_path);
/// Writes `text` to a temporary file in the same folder and publishes it as `path`: a reader sees
/// the old content or all of the new. Throws SystemError(resources).
void write_atomically(const std::string& path, const std::string& text);
/// Whether `path` exists; links are followed. Throws SystemError(resources) if that cannot be
/// found out, for example without permission to search a folder.
bool is_there(const std::string& path);
/// Opens `path` and, if it is a regular file, reads its first bytes. Throws SystemError(resources)
/// if that fails.
void prove_readable(const std::string& path);
/// The whole content of a regular file of at most `max_bytes` bytes. Throws Refusal(code) if it
/// cannot be opened, is no regular file or is larger; SystemError(resources) if reading fails.
std::string read_text_file(const std::string& path, std::int64_t max_bytes,
                           base::ExitCode code = base::ExitCode::input);
/// XXH3-64 of a file's bytes as 16 hexadecimal digits. Reads 4 MiB at a time. Throws
/// SystemError(resources).
std::string file_xxh3(const std::string& path);
/// Names of a folder's entries, sorted; empty if the folder does not exist. Throws
/// SystemError(resources) if the list cannot be read to its end: a part file missing from the list
/// would be computed again.
std::vector<std::string> names_in(const std::string& folder);

/// The folder in which the file `path` lies; "." if the path names none.
std::string folder_of(const std::string& path);
/// Makes the folder in which the file `path` will lie, and those above it. Throws
/// SystemError(resources).
void make_folder_of(const std::string& path);

}  // namespace tetrarch::storage
