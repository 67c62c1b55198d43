/// The norm of queries and keys, head by head.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/weights.hpp"

namespace tetrarch::model {

/// RMS-norms each head of x [rows, local heads * d] in place, before RoPE; all heads share the
/// `weight` [1, d]. Without a weight (no qk_norm) x stays as it is.
void norm_heads(const Context& context, const Vector& weight, const backend::Tensor& x);

}  // namespace tetrarch::model
