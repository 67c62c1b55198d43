// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <cstring>

#include <fmt/format.h>

namespace tetrarch::base {
namespace {

std::string place(const std::source_location& where) {
  const char* slash = std::strrchr(where.file_name(), '/');
  return fmt::format("{}:{}", slash ? slash + 1 : where.file_name(), where.line());
}

}  // namespace

SystemError::SystemError(ExitCode code, const std::string& message, std::source_location where)
    : std::runtime_error(fmt::format("{} [{}]", message, place(where))), code_(code) {}

void expects(bool holds, const char* what, std::source_location where) {
  if (holds) return;
  throw InternalError(
      fmt::format("internal defect: expected {} [{}]. Please report it with the command line.",
                  what, place(where)));
}

}  // namespace tetrarch::base
