/// Collects what is wrong with an input, so that all of it is said at once.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"

namespace tetrarch::plan {

class Problems {
 public:
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    lines_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }
  bool empty() const { return lines_.empty(); }

  /// Throws UsageError(code) when there is any: "where: problem", or one line for each below it.
  void refuse(base::ExitCode code, const std::string& where) const {
    if (lines_.empty()) return;
    std::string message = where;
    if (lines_.size() == 1) {
      message += ": " + lines_.front();
    } else {
      message += fmt::format(": {} problems", lines_.size());
      for (const std::string& line : lines_)
        message += "\n  " + line;
    }
    throw base::UsageError(code, message);
  }

 private:
  std::vector<std::string> lines_;
};

}  // namespace tetrarch::plan
