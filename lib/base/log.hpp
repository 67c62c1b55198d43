/// The log: whole lines, to the terminal and to a file once there is one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <string>

#include <fmt/format.h>

#include "base/handle.hpp"

namespace tetrarch::base {

struct CloseStdio {
  static std::FILE* empty() { return nullptr; }
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

/// Rank 0 makes it with Sink::terminal, all others with Sink::none, so that callers say what they
/// have to say and need not ask who they are. Every line is written and flushed at once.
class Log {
 public:
  enum class Sink { none, terminal };
  explicit Log(Sink sink) : sink_(sink) {}

  /// From now on also appends to this file. Throws SystemError(resources).
  void also_to(const std::string& path);
  void line(const std::string& text);
  template <class... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    if (sink_ != Sink::none) line(fmt::format(format, std::forward<Args>(args)...));
  }
  /// A remark that a user may want to act on; written as "NOTE  ...".
  void note(const std::string& text) {
    if (sink_ != Sink::none) line("NOTE  " + text);
  }
  bool is_silent() const { return sink_ == Sink::none; }

 private:
  Sink sink_;
  Handle<std::FILE*, CloseStdio> file_;
};

}  // namespace tetrarch::base
