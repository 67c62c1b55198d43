/// What a backend must know of a model before its weights are packed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "backend/backend.hpp"
#include "plan/memory.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::engine {

/// The weights of all products of the model, each shape once.
std::vector<backend::WholeWeight> whole_weights(const plan::ModelSpec& spec,
                                                std::int64_t reduction_shards);

/// What plans ask of a prepared backend, which outlives them.
plan::PackedBytes packed_bytes_of(backend::Backend& backend, base::DType dtype);

}  // namespace tetrarch::engine
