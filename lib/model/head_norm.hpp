/// The norm of queries and keys, for each head.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/weights.hpp"

namespace tetrarch::model {

/// Applies an RMS norm to each head of x [rows, local heads * d] in place, before RoPE. All heads
/// share `weight` [1, d]. If the weight is absent (model without qk_norm), x does not change.
void norm_heads(const Context& context, const OwnedTensor& weight, const backend::Tensor& x);

}  // namespace tetrarch::model
