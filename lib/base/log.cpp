// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

#include "base/error.hpp"

namespace tetrarch::base {

void Log::CloseFile::operator()(int descriptor) const noexcept {
  ::close(descriptor);
}

void Log::also_to(const std::string& path) {
  if (sink_ == Sink::none) return;
  constexpr int flags = O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
  file_ = Handle<int, CloseFile>(::open(path.c_str(), flags, 0666));
  if (!file_.has_value())
    throw SystemError(
        ExitCode::resources,
        fmt::format("{}: cannot be opened for writing ({}). Check its permissions and "
                    "the free space.",
                    path, std::strerror(errno)));
  path_ = path;
  char last = '\n';
  const off_t end = ::lseek(file_.get(), 0, SEEK_END);
  is_torn_ = end > 0 && ::pread(file_.get(), &last, 1, end - 1) == 1 && last != '\n';
}

/// Appends all of `text`, or returns false with errno set. After a failure the file may end in the
/// middle of a line; is_torn_ says so.
bool Log::append(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(file_.get(), text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    is_torn_ = true;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  is_torn_ = false;
  return true;
}

/// A failed write to the log file does not end the job, because the terminal has every line.
void Log::line_to_file(const std::string& whole) {
  std::string text = is_torn_ ? "\n" : "";
  if (num_lost_ > 0) text += fmt::format("NOTE  {} lines are missing here\n", num_lost_);
  text += whole;
  if (append(text)) {
    num_lost_ = 0;
    return;
  }
  if (num_lost_++ > 0) return;
  const std::string problem = std::strerror(errno);
  print(fmt::format(
      "NOTE  {}: cannot be written ({}). Until it can be, its lines are only on the terminal.\n",
      path_, problem));
}

void Log::print(const std::string& whole) {
  std::fputs(whole.c_str(), stdout);
  std::fflush(stdout);
}

void Log::line(const std::string& text) {
  if (sink_ == Sink::none) return;
  const std::string whole = text + "\n";
  print(whole);
  if (file_.has_value()) line_to_file(whole);
}

}  // namespace tetrarch::base
