// `tetrarch import`: a Hugging Face checkpoint becomes weights.h5.
// SPDX-License-Identifier: Apache-2.0
#include "storage/import_checkpoint.hpp"

#include "subcommands.hpp"

namespace tetrarch::app {
namespace {
}
}  // namespace tetrarch::app
