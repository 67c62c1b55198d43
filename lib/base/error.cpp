// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "base/text.hpp"

namespace tetrarch::base {
namespace {

std::string place(const std::source_location& where) {
  const char* slash = std::strrchr(where.file_name(), '/');
  return fmt::format("{}:{}", slash ? slash + 1 : where.file_name(), where.line());
}

/// The message with unprintable bytes as \xNN (line ends stay), cut after 8 KiB. Messages contain
/// names from users' files: these must not send control sequences to a terminal, nor fill a log.
std::string legible(std::string_view message) {
  constexpr std::size_t longest = 8 << 10;
  std::string result;
  while (result.size() < longest) {
    const std::size_t end = std::min(message.find('\n'), message.size());
    result += shown(message.substr(0, end), longest - result.size());
    if (end == message.size()) return result;
    result += '\n';
    message.remove_prefix(end + 1);
  }
  return result + "  ...";
}

}  // namespace

Refusal::Refusal(ExitCode code, const std::string& message)
    : std::runtime_error(legible(message)), code_(code) {}

SystemError::SystemError(ExitCode code, const std::string& message, std::source_location where)
    : std::runtime_error(fmt::format("{} [{}]", legible(message), place(where))), code_(code) {}

void expects(bool holds, const char* what, std::source_location where) {
  if (holds) return;
  throw InternalError(
      fmt::format("internal defect: expected {} [{}]. Please report it with the command line.",
                  what, place(where)));
}

}  // namespace tetrarch::base
