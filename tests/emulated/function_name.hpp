/// The name of a function of this program, for messages.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::emulated {

/// As C++ writes it, from the program's table of symbols, which also has functions of unnamed
/// namespaces. "a function without a name" if the program is stripped.
std::string name_of_function(const void* function);

}  // namespace tetrarch::emulated
