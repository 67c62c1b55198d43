// Free space on file systems, and messages about it.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/disk_space.hpp"

#include <filesystem>

#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace tetrarch::storage {

using base::ExitCode;

std::optional<std::int64_t> free_bytes(const std::string& path) {
  std::filesystem::path at(path);
  struct statvfs found = {};
  while (::statvfs(at.empty() ? "." : at.c_str(), &found) != 0) {
    if (at.empty() || at == at.parent_path()) return std::nullopt;
    at = at.parent_path();
  }
  return static_cast<std::int64_t>(found.f_bavail) * static_cast<std::int64_t>(found.f_frsize);
}

void with_space(const std::string& path, std::int64_t needed_bytes,
                const std::function<void()>& write) {
  const auto rethrow = [&](ExitCode code, std::string problem) {
    const auto free = free_bytes(path);  // measured before the file is removed
    ::unlink(path.c_str());
    if (code == ExitCode::resources && free)
      problem +=
          fmt::format(" It needs about {}, and {} are free there. Committed results are kept.",
                      base::bytes_text(needed_bytes), base::bytes_text(*free));
    throw base::SystemError(code, problem);
  };
  try {
    write();
  } catch (const base::SystemError& error) {
    const std::string problem = error.what();
    rethrow(error.code(), problem.substr(0, problem.rfind(" [")));  // without the source location
  } catch (const base::Refusal& error) {
    rethrow(ExitCode::resources, error.what());  // our own file: the machine is the cause
  }
}

void note_scarce_space(const std::string& folder, std::int64_t needed_bytes, base::Log& log) {
  const auto free = free_bytes(folder);
  if (!free || *free >= needed_bytes) return;
  log.note(
      fmt::format("{}: parts and results need about {} more, but only {} are free there. The run "
                  "will stop when the disk is full. Free some space, or ask for fewer --outputs.",
                  folder, base::bytes_text(needed_bytes), base::bytes_text(*free)));
}

}  // namespace tetrarch::storage
