/// Files that are either wholly there or not at all.
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

/// Throws SystemError(resources): `path` cannot be `what` ("written"), for the reason errno gives.
[[noreturn]] void fail_file(const std::string& path, const char* what, int error);

/// Forces a file, or a folder's entries, to the disk. Throws SystemError(resources).
void sync_path(const std::string& path);
/// Gives a closed file its final name, durably: sync, rename, sync of the folder.
void publish(const std::string& temporary, const std::string& final_path);
/// Writes a whole text under its name, by way of a temporary file beside it.
void write_atomically(const std::string& path, const std::string& text);
/// Whether the path leads to something. Throws SystemError(resources) where that cannot be seen.
bool is_there(const std::string& path);
/// Throws SystemError(resources) where not even the first bytes of a regular file can be read.
void prove_readable(const std::string& path);
/// All of a regular file of at most `max_bytes`. Throws UsageError(code).
std::string read_text_file(const std::string& path, std::int64_t max_bytes,
                           base::ExitCode code = base::ExitCode::input);
/// XXH3 of a file's bytes, 16 hex digits, read in bounded memory.
std::string file_xxh3(const std::string& path);
/// What is in a folder, sorted; nothing where there is none. Throws SystemError(resources) when it
/// cannot be read: a list cut short would have work done again.
std::vector<std::string> names_in(const std::string& folder);

}  // namespace tetrarch::storage
