/// Chooses the GPU of a rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "mpi/communicator.hpp"

namespace tetrarch::backend::cuda {

/// True if this program was built for the emulated device.
constexpr bool is_emulated() {
#ifdef TETRARCH_CUDA_EMULATED
  return true;
#else
  return false;
#endif
}

/// Makes GPU number (rank on the node) % (GPUs of the node) the device of this process. Returns its
/// name, with the versions of driver and runtime. Throws Refusal(usage) on all ranks when a rank
/// sees no device. Collective over `world`.
std::string use_device(const mpi::Communicator& world);

}  // namespace tetrarch::backend::cuda
