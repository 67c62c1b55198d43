/// Random models and inputs, reproducible from a seed on every machine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/log.hpp"
#include "plan/model_spec.hpp"
#include "plan/shard.hpp"
#include "storage/weights_file.hpp"

namespace tetrarch::storage {

/// Fills `to` with elements [begin, begin + size) of one expert of a tensor, counted row-major.
/// Each is a pure function of (seed, path, expert, element), so the reduction shards do not matter
/// and f32 and bf16 models differ by rounding only.
///
/// Linear weights have deviation fan_in^-1/2, the router 2.5 times that (so that the choice of
/// experts is clear), embeddings 1; norm scales are 1 + 0.1 z. z is the sum of four uniform 16-bit
/// numbers, centred and scaled to deviation 1: near normal, within +-3.47.
void synthesize_values(const plan::TensorSpec& tensor, std::uint64_t seed, std::int64_t expert,
                       std::int64_t begin, std::span<float> to);

/// Writes a whole weights.h5, folder included. Throws SystemError(resources).
void synthesize_weights(const plan::ModelSpec& spec, std::int64_t reduction_shards,
                        std::uint64_t seed, const std::string& path, base::Log& log);

/// Whether the file is what synthesize_weights() makes of these: by its sizes and shards, and by
/// the values of its vectors, which stand for all.
bool is_synthesis(const WeightsFile& weights, const plan::ModelSpec& spec,
                  std::int64_t reduction_shards, std::uint64_t seed);

struct InputsSpec {
  std::int64_t num_sequences = 64;
  std::int64_t min_tokens = 0, max_tokens = 0;  // lengths are uniform in between, both included
  std::int64_t vocab_size = 0;
  std::uint64_t seed = 1;
};

/// Writes inputs.h5 with ids 0 .. n-1, folder included. Throws SystemError(resources).
void synthesize_inputs(const InputsSpec& inputs, const std::string& path, base::Log& log);

}  // namespace tetrarch::storage
