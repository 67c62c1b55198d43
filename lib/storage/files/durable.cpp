// Durable writing of files, and bounded reading of small ones.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/durable.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "storage/files/checksum.hpp"
#include "storage/files/disk_space.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

constexpr std::size_t piece_bytes = 4 << 20;

Descriptor open_descriptor(const std::string& path, int flags, const char* what) {
  Descriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0666));
  if (!file.has_value()) fail_file(path, what, errno);
  return file;
}

void write_all(const Descriptor& file, const std::string& text, const std::string& path) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::write(file.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_file(path, "written", errno);
    done += static_cast<std::size_t>(count);
  }
}

/// Reads up to `bytes` bytes into `to`. Returns how many: fewer only at the end of the file.
std::size_t read_some(const Descriptor& file, std::byte* to, std::size_t bytes,
                      const std::string& path) {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t count = ::read(file.get(), to + done, bytes - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_file(path, "read", errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

}  // namespace

std::string folder_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

void CloseDescriptor::operator()(int descriptor) const noexcept {
  ::close(descriptor);
}

void fail_file(const std::string& path, const char* what, int error) {
  const bool is_full = error == ENOSPC || error == EDQUOT;
  throw base::SystemError(
      ExitCode::resources,
      fmt::format("{}: cannot be {} ({}). {}", path, what, std::strerror(error),
                  is_full ? "Free some space and run the same command again."
                          : "Check its permissions and the disk, and run the same command again."));
}

void sync_path(const std::string& path) {
  const Descriptor file = open_descriptor(path, O_RDONLY, "opened to sync it to the disk");
  // EINVAL: some network file systems do not support fsync of a folder
  if (::fsync(file.get()) != 0 && errno != EINVAL) fail_file(path, "synced to the disk", errno);
}

void publish(const std::string& temporary, const std::string& final_path) {
  sync_path(temporary);
  if (::rename(temporary.c_str(), final_path.c_str()) != 0) fail_file(final_path, "renamed", errno);
  sync_path(folder_of(final_path));
}

void write_atomically(const std::string& path, const std::string& text) {
  const std::filesystem::path target(path);
  const std::string temporary =
      folder_of(path) + fmt::format("/.tmp-{}-{}", ::getpid(), target.filename().string());
  ::unlink(temporary.c_str());
  with_space(temporary, std::ssize(text), [&] {
    {
      const Descriptor file =
          open_descriptor(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, "created");
      write_all(file, text, temporary);
    }
    publish(temporary, path);
  });
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error))
    names.push_back(at->path().filename().string());
  if (error && error != std::errc::no_such_file_or_directory)
    fail_file(folder, "listed", error.value());
  std::ranges::sort(names);
  return names;
}

bool is_there(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0) return true;
  if (errno != ENOENT && errno != ENOTDIR) fail_file(path, "accessed", errno);
  return false;
}

void prove_readable(const std::string& path) {
  const Descriptor file = open_descriptor(path, O_RDONLY | O_NONBLOCK, "read");
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) fail_file(path, "read", errno);
  std::byte first[8];
  if (S_ISREG(status.st_mode)) read_some(file, first, sizeof first, path);
}

std::string read_text_file(const std::string& path, std::int64_t max_bytes, ExitCode code) {
  // O_NONBLOCK: without it, opening a pipe would wait for a writer
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status = {};
  if (!file.has_value() || ::fstat(file.get(), &status) != 0)
    throw base::Refusal(code, fmt::format("{}: cannot be read ({}). Check the path and its "
                                          "permissions.",
                                          path, std::strerror(errno)));
  if (!S_ISREG(status.st_mode))
    throw base::Refusal(code, fmt::format("{}: is no regular file. Check the path.", path));
  if (status.st_size > max_bytes)
    throw base::Refusal(
        code, fmt::format("{}: has {}, and at most {} were expected. Check the path.", path,
                          base::bytes_text(status.st_size), base::bytes_text(max_bytes)));
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  text.resize(read_some(file, reinterpret_cast<std::byte*>(text.data()), text.size(), path));
  return text;
}

std::string file_xxh3(const std::string& path) {
  const Descriptor file = open_descriptor(path, O_RDONLY, "read");
  std::vector<std::byte> piece(piece_bytes);
  Xxh3 hash;
  while (const std::size_t count = read_some(file, piece.data(), piece.size(), path))
    hash.update({piece.data(), count});
  return hex_text(hash.digest());
}

void make_folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  if (error)
    throw base::SystemError(base::ExitCode::resources,
                            fmt::format("{}: cannot be made ({}). Check the permissions, or give "
                                        "another path.",
                                        folder.string(), error.message()));
}

}  // namespace tetrarch::storage
