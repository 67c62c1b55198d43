// A lock that lets only one process use a folder.
// SPDX-License-Identifier: Apache-2.0
#include "storage/files/folder_lock.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/host_name.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "storage/files/disk_space.hpp"

namespace tetrarch::storage {
namespace {

using Clock = std::chrono::steady_clock;
using base::ExitCode;

void rest() {
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

/// "process 123 on host n001 since 2026-01-31T12:00:00Z"; "" if the holder has not yet written it.
std::string holder_text(const Descriptor& file) {
  char text[512] = {};
  if (::pread(file.get(), text, sizeof text - 1, 0) <= 0) return "";
  const base::Json json = base::Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return "";
  const auto word = [&](const char* key) {
    const auto found = json.find(key);
    if (found == json.end()) return std::string("unknown");
    return base::shown(found->is_string() ? found->get<std::string>() : found->dump());
  };
  return fmt::format("process {} on host {} since {}", word("pid"), word("host"),
                     word("started_utc"));
}

std::string holder_of(const Descriptor& file) {
  constexpr int num_tries = 20;
  for (int i = 0; i < num_tries; ++i, rest())
    if (const std::string text = holder_text(file); !text.empty()) return text;
  return "another process";
}

/// Whether `path` still leads to this open file. A previous holder may have removed it.
bool is_at(const Descriptor& file, const std::string& path) {
  struct stat opened = {}, found = {};
  return ::fstat(file.get(), &opened) == 0 && ::stat(path.c_str(), &found) == 0 &&
         opened.st_dev == found.st_dev && opened.st_ino == found.st_ino;
}

}  // namespace

FolderLock::FolderLock(std::string path, double wait_s, base::Log& log) : path_(std::move(path)) {
  const auto deadline = Clock::now() + std::chrono::duration<double>(wait_s);
  const auto left_s = [&] {
    return std::chrono::duration<double>(deadline - Clock::now()).count();
  };
  while (!take(left_s(), log)) {
    if (left_s() <= 0)
      throw base::Refusal(ExitCode::resources,
                          fmt::format("{}: the folder is in use (locked by {}, waited {:.0f} s). "
                                      "Wait until that process ends, or use another --out.",
                                      path_, holder_of(file_), wait_s));
    rest();
  }
  write_holder();
}

void FolderLock::open_file() {
  file_ = Descriptor(::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!file_.has_value())
    throw base::Refusal(ExitCode::resources,
                        fmt::format("{}: cannot be opened for writing ({}). Check the folder's "
                                    "permissions and its free space, or use another --out.",
                                    path_, std::strerror(errno)));
}

/// Tries once. False: the lock is held by another process, or the try has to be repeated.
bool FolderLock::take(double left_s, base::Log& log) {
  // in one try: some file systems report another inode each time
  constexpr int most_removals = 100;
  for (int i = 0;; ++i) {
    open_file();  // again if the previous holder has removed the file meanwhile
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) break;
    if (is_at(file_, path_)) return true;
    if (i == most_removals) return false;
  }
  if (errno == EINTR || errno == ESTALE) return false;
  if (errno != EWOULDBLOCK) {
    log.note(
        fmt::format("{}: this file system has no locks ({}). Make sure that no other job uses the "
                    "folder.",
                    path_, std::strerror(errno)));
    return true;
  }
  if (!has_said_ && left_s > 0)
    log.say("{}: locked by {}; waiting up to {:.0f} s", path_, holder_of(file_), left_s);
  has_said_ = true;
  return false;
}

/// Overwrites the text of a previous holder and cuts the rest off afterwards, so that a reader
/// does not find the file empty for long.
void FolderLock::write_holder() {
  const base::Json holder = {
      {"host", base::host_name()}, {"pid", ::getpid()}, {"started_utc", base::utc_now()}};
  const std::string text = holder.dump() + "\n";
  with_space(path_, std::ssize(text), [&] {
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t count =
          ::pwrite(file_.get(), text.data() + done, text.size() - done, static_cast<off_t>(done));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) fail_file(path_, "written", count < 0 ? errno : ENOSPC);
      done += static_cast<std::size_t>(count);
    }
    if (::ftruncate(file_.get(), std::ssize(text)) != 0) fail_file(path_, "written", errno);
  });
}

FolderLock::~FolderLock() {
  if (file_.has_value()) ::unlink(path_.c_str());
}

}  // namespace tetrarch::storage
