// SPDX-License-Identifier: Apache-2.0
#include "emulated/fault.hpp"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace tetrarch::emulated {
namespace {

FaultHandler& handler() {
  static FaultHandler handler;
  return handler;
}

}  // namespace

void set_fault_handler(FaultHandler with) {
  handler() = std::move(with);
}

void report_fault(const std::string& text) {
  if (handler()) return handler()(text);
  std::fprintf(stderr, "emulated device: %s\n", text.c_str());
  std::abort();
}

std::string text_of(const Place& place) {
  const std::string path = place.file_name();
  return path.substr(path.rfind('/') + 1) + ":" + std::to_string(place.line());
}

}  // namespace tetrarch::emulated
