/// Reads a subcommand's options: the command line before --config FILE before the defaults.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "option_spec.hpp"
#include "settings.hpp"

namespace tetrarch::app {

/// `arguments` follow the subcommand's name; `word` names the one word without dashes that it
/// takes, "" for none. Unknown, doubled, empty, stray and out-of-range: throws UsageError(usage)
/// with every problem at once. Options of later
/// versions without a value are left out of the result.
Settings parse_options(const std::string& subcommand, const std::vector<OptionSpec>& specs,
                       const std::string& word, const std::vector<std::string>& arguments);

}  // namespace tetrarch::app
