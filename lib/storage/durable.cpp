// Files that are either wholly there or not at all.
// SPDX-License-Identifier: Apache-2.0
#include "storage/durable.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "storage/checksum.hpp"

namespace tetrarch::storage {
namespace {

using base::ExitCode;

constexpr std::size_t piece_bytes = 4 << 20;

[[noreturn]] void fail(const std::string& path, const char* what, int error) {
  const bool is_full = error == ENOSPC || error == EDQUOT;
  throw base::SystemError(ExitCode::resources,
                          fmt::format("{}: cannot be {} ({}). {}", path, what, std::strerror(error),
                                      is_full ? "Free some space and run the same command again."
                                              : "Check the folder's permissions and the disk."));
}

Descriptor open_descriptor(const std::string& path, int flags, const char* what) {
  Descriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0666));
  if (!file.has_value()) fail(path, what, errno);
  return file;
}

void write_all(const Descriptor& file, const std::string& text, const std::string& path) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::write(file.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, "written", errno);
    done += static_cast<std::size_t>(count);
  }
}

/// Fills `to` as far as the file goes; the number of bytes read.
std::size_t read_some(const Descriptor& file, std::byte* to, std::size_t bytes,
                      const std::string& path) {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t count = ::read(file.get(), to + done, bytes - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, "read", errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

std::string folder_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

/// "process 123 on host n001 since 2026-01-31T12:00:00Z", from what the holder wrote.
std::string holder_of(const Descriptor& file) {
  char text[512] = {};
  if (::pread(file.get(), text, sizeof text - 1, 0) <= 0) return "another process";
  const base::Json json = base::Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return "another process";
  return fmt::format("process {} on host {} since {}", json.value("pid", std::int64_t{0}),
                     json.value("host", std::string("unknown")),
                     json.value("started_utc", std::string("unknown")));
}

}  // namespace

void CloseDescriptor::operator()(int descriptor) const noexcept {
  ::close(descriptor);
}

void sync_path(const std::string& path) {
  const Descriptor file = open_descriptor(path, O_RDONLY, "opened to force it to the disk");
  // some network file systems know no fsync of a folder
  if (::fsync(file.get()) != 0 && errno != EINVAL) fail(path, "forced to the disk", errno);
}

void publish(const std::string& temporary, const std::string& final_path) {
  sync_path(temporary);
  if (::rename(temporary.c_str(), final_path.c_str()) != 0) fail(final_path, "renamed", errno);
  sync_path(folder_of(final_path));
}

void write_atomically(const std::string& path, const std::string& text) {
  const std::filesystem::path target(path);
  const std::string temporary =
      folder_of(path) + fmt::format("/.tmp-{}-{}", ::getpid(), target.filename().string());
  ::unlink(temporary.c_str());
  {
    const Descriptor file =
        open_descriptor(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, "created");
    write_all(file, text, temporary);
  }
  publish(temporary, path);
}

std::string read_text_file(const std::string& path, std::int64_t max_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status = {};
  if (!file.has_value() || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
    throw base::UsageError(ExitCode::input,
                           fmt::format("{}: cannot be read ({}). Check the path.", path,
                                       file.has_value() ? "no file" : std::strerror(errno)));
  if (status.st_size > max_bytes)
    throw base::UsageError(
        ExitCode::input,
        fmt::format("{}: has {}, and at most {} were expected. Check the path.", path,
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

FolderLock::FolderLock(const std::string& path, double wait_s, base::Log& log) {
  using Clock = std::chrono::steady_clock;
  file_ = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!file_.has_value())
    throw base::UsageError(ExitCode::resources,
                           fmt::format("{}: cannot be opened for writing ({}). Check the folder's "
                                       "permissions or use another --out.",
                                       path, std::strerror(errno)));
  const auto deadline = Clock::now() + std::chrono::duration<double>(wait_s);
  bool has_said = false;
  while (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) {
      log.note(
          fmt::format("{}: this file system has no locks ({}). Make sure that no other job "
                      "uses the folder.",
                      path, std::strerror(errno)));
      break;
    }
    if (Clock::now() >= deadline)
      throw base::UsageError(
          ExitCode::resources,
          fmt::format(
              "{}: the folder is in use (locked by {}, waited {:.0f} s). Wait for it to end, "
              "or use another --out.",
              path, holder_of(file_), wait_s));
    if (!has_said)
      log.say("{}: held by {}; waiting up to {:.0f} s", path, holder_of(file_), wait_s);
    has_said = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  const base::Json holder = {
      {"host", host_name()}, {"pid", ::getpid()}, {"started_utc", base::utc_now()}};
  if (::ftruncate(file_.get(), 0) != 0) fail(path, "written", errno);
  write_all(file_, holder.dump() + "\n", path);
}

FolderLock::~FolderLock() {
  // an empty lock file: its last holder left in peace
  if (file_.has_value() && ::ftruncate(file_.get(), 0) != 0) return;
}

}  // namespace tetrarch::storage
