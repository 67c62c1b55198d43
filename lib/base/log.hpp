/// The log: whole lines, to the terminal and to a file once there is one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/handle.hpp"

namespace tetrarch::base {

/// Rank 0 makes it with Sink::terminal, all others with Sink::none, so that callers say what they
/// have to say and need not ask who they are. Every line is written and flushed at once.
class Log {
 public:
  enum class Sink { none, terminal };
  explicit Log(Sink sink) : sink_(sink) {}

  /// From now on also appends to this file, as long as the disk takes it. Throws
  /// SystemError(resources) when it cannot be opened; a symbolic link is not followed.
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
  struct CloseFile {
    static int empty() { return -1; }
    void operator()(int descriptor) const noexcept;
  };
  static void print(const std::string& whole);
  void line_to_file(const std::string& whole);
  bool append(std::string_view text);

  Sink sink_;
  std::string path_;
  Handle<int, CloseFile> file_;
  bool is_torn_ = false;       // the file's last line lacks its end
  std::int64_t num_lost_ = 0;  // lines that the file did not take
};

}  // namespace tetrarch::base
