// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <cerrno>
#include <cstring>

#include "base/error.hpp"

namespace tetrarch::base {

void Log::also_to(const std::string& path) {
  if (sink_ == Sink::none) return;
  file_ = Handle<std::FILE*, CloseStdio>(std::fopen(path.c_str(), "a"));
  if (!file_.has_value())
    throw SystemError(ExitCode::resources, fmt::format("{}: cannot be opened for writing ({}). "
                                                       "Check the folder's permissions.",
                                                       path, std::strerror(errno)));
}

void Log::line(const std::string& text) {
  if (sink_ == Sink::none) return;
  const std::string whole = text + "\n";
  std::fputs(whole.c_str(), stdout);
  std::fflush(stdout);
  if (file_.has_value()) {
    std::fputs(whole.c_str(), file_.get());
    std::fflush(file_.get());
  }
}

}  // namespace tetrarch::base
