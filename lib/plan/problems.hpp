/// Collects what is wrong with an input, so that one message can name all of it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"

namespace tetrarch::plan {

/// Keeps the first 30 problems and counts the others.
class Problems {
 public:
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    if (++count_ <= most_shown) lines_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }
  bool empty() const { return lines_.empty(); }
  /// True when further problems are only counted, so that their texts need not be made.
  bool is_full() const { return count_ >= most_shown; }

  /// Throws Refusal(code) when there is a problem. The message is "where: problem" for one
  /// problem; for several it has one line for each.
  void refuse(base::ExitCode code, const std::string& where) const {
    if (lines_.empty()) return;
    std::string message = where;
    if (lines_.size() == 1) {
      message += ": " + lines_.front();
    } else {
      message += fmt::format(": {} problems", count_);
      for (const std::string& line : lines_)
        message += "\n  " + line;
      if (count_ > most_shown) message += fmt::format("\n  and {} more", count_ - most_shown);
    }
    throw base::Refusal(code, message);
  }

 private:
  static constexpr std::int64_t most_shown = 30;
  std::int64_t count_ = 0;
  std::vector<std::string> lines_;  // the first most_shown of them
};

}  // namespace tetrarch::plan
