/// The name of the machine that this process runs on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::base {

/// As gethostname() gives it; "unknown" if it gives none.
std::string host_name();

}  // namespace tetrarch::base
