/// Makes random models. A seed gives the same values on every machine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/log.hpp"
#include "plan/model_spec.hpp"
#include "plan/shard.hpp"
#include "storage/weights/weights_file.hpp"

namespace tetrarch::storage {

/// Fills `to` with elements [begin, begin + to.size()) of one expert of a tensor, counted
/// row-major. Each element is a function of (seed, path, expert, element) alone. So it does not
/// depend on the number of reduction shards, and f32 and bf16 models differ only by rounding.
///
/// An element is mean + deviation * z, where z is the sum of four uniform 16-bit numbers, shifted
/// to mean 0 and scaled to deviation 1: nearly normal, within +-3.47. Linear weights have mean 0
/// and deviation 1 / sqrt(fan_in), the router 2.5 times that (so that the choice of experts is
/// clear), embeddings 0 and 1, norm scales 1 and 0.1.
void synthesize_values(const plan::TensorSpec& tensor, std::uint64_t seed, std::int64_t expert,
                       std::int64_t begin, std::span<float> to);

/// Writes a whole weights.h5, and creates its folder. Throws SystemError(resources).
void synthesize_weights(const plan::ModelSpec& spec, std::int64_t reduction_shards,
                        std::uint64_t seed, const std::string& path, base::Log& log);

/// Whether the file is what synthesize_weights() makes with these arguments. Compares the spec, the
/// reduction shards and the values of one-dimensional tensors; the other tensors are not compared.
bool is_synthesis(const WeightsFile& weights, const plan::ModelSpec& spec,
                  std::int64_t reduction_shards, std::uint64_t seed);

}  // namespace tetrarch::storage
