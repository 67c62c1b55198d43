// SPDX-License-Identifier: Apache-2.0
#include "model/head_norm.hpp"

namespace tetrarch::model {

void norm_heads(const Context& context, const OwnedTensor& weight, const backend::Tensor& x) {
  if (weight.tensor.is_absent()) return;
  const std::int64_t head_size = context.spec.head_size;
  const backend::Tensor heads{x.data, x.dtype, 1, x.rows * x.columns / head_size, head_size};
  context.compute.rms_norm(heads, weight.tensor, static_cast<float>(context.spec.norm_eps), heads);
}

}  // namespace tetrarch::model
