/// How the emulated device tells that a program uses it wrongly.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <source_location>
#include <string>

namespace tetrarch::emulated {

using Place = std::source_location;
using FaultHandler = std::function<void(const std::string&)>;

/// Without a handler, a fault is printed on stderr and the process aborts. With one, the faulty
/// call or kernel ends early and the program goes on.
void set_fault_handler(FaultHandler handler);
void report_fault(const std::string& text);
/// "attention.cu:88", without the folder.
std::string text_of(const Place& place);

}  // namespace tetrarch::emulated
