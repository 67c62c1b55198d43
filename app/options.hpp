/// Reads a subcommand's options. The command line comes before --config FILE, and the file before
/// the defaults.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "option_spec.hpp"
#include "settings.hpp"

namespace tetrarch::app {

/// specs      the options of the subcommand
/// word       the name of the one word without dashes that it takes ("FILE"), "" for none
/// arguments  the command line after the subcommand's name
/// Throws Refusal(usage) with every problem in one message: unknown options and stray words,
/// options given twice, values that are missing or out of range.
/// Options of later versions are left out of the result unless they are given.
Settings parse_options(const std::string& subcommand, const std::vector<OptionSpec>& specs,
                       const std::string& word, const std::vector<std::string>& arguments);

}  // namespace tetrarch::app
