/// Information that a backend and the memory plan exchange before weights are packed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "backend/backend.hpp"
#include "plan/memory.hpp"
#include "plan/model_spec.hpp"

namespace tetrarch::engine {

/// The sizes of the weights of all products of the model, each shape once; for Backend::prepare().
std::vector<backend::WholeWeight> whole_weights(const plan::ModelSpec& spec,
                                                std::int64_t reduction_shards);

/// Returns a function that gives the bytes of a packed weight; memory plans call it. `backend` must
/// be prepared, and must outlive the function.
plan::PackedBytes packed_bytes_of(backend::Backend& backend, base::DType dtype);

}  // namespace tetrarch::engine
