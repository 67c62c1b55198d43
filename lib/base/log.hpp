/// The log of a run: whole lines, written to the terminal and, after also_to(), to a file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/handle.hpp"

namespace tetrarch::base {

/// Rank 0 makes it with Sink::terminal, the other ranks with Sink::none, which drops every line. So
/// code that logs need not ask for its rank. Every line is written and flushed at once.
class Log {
 public:
  enum class Sink { none, terminal };
  explicit Log(Sink sink) : sink_(sink) {}

  /// From now on also appends every line to this file. A failed write is reported once on the
  /// terminal; after the next write that works, the file says how many lines are missing.
  /// Throws SystemError(resources) when the file cannot be opened or is a symbolic link.
  void also_to(const std::string& path);
  /// Writes `text` as one line.
  void line(const std::string& text);
  /// Writes one line; formats as fmt::format does.
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
  bool is_torn_ = false;       // the file's last line has no line end
  std::int64_t num_lost_ = 0;  // lines that could not be written since the last one that could
};

}  // namespace tetrarch::base
