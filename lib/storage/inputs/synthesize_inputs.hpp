/// Random inputs, reproducible from a seed on every machine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/log.hpp"

namespace tetrarch::storage {

struct InputsSpec {
  std::int64_t num_sequences = 64;
  std::int64_t min_tokens = 0, max_tokens = 0;  // lengths are uniform in between, both included
  std::int64_t vocab_size = 0;
  std::uint64_t seed = 1;
};

/// Writes inputs.h5 with ids 0 .. n-1, folder included. Throws SystemError(resources).
void synthesize_inputs(const InputsSpec& inputs, const std::string& path, base::Log& log);

}  // namespace tetrarch::storage
