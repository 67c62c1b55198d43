/// Version, commit, build type and compiler of this program.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tetrarch::base {

struct BuildInfo {
  std::string version;            // "0.1.0"
  std::string git_sha;            // at configure time; "unknown" outside a checkout
  std::string build_type;         // "Release"
  std::string compiler;           // "GNU 12.2.0"
  bool has_cuda = false;          // built with the CUDA backend
  bool is_cuda_emulated = false;  // which then runs on the emulated device of tests/emulated
};
/// The one of this program.
const BuildInfo& build_info();

}  // namespace tetrarch::base
