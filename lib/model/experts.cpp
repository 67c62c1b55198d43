// SPDX-License-Identifier: Apache-2.0
#include "model/experts.hpp"

namespace tetrarch::model {

using plan::BufferName;

backend::ActivationKind kind_of(plan::Activation activation) {
  switch (activation) {
    case plan::Activation::silu:
      return backend::ActivationKind::silu;
    case plan::Activation::gelu:
      return backend::ActivationKind::gelu;
    case plan::Activation::gelu_tanh:
      return backend::ActivationKind::gelu_tanh;
  }
  throw base::InternalError("a known activation");
}

namespace {

void grouped(const Context& context, const backend::Tensor& x, const Matrices& weights,
             std::span<const std::int64_t> offset, const backend::Tensor& y) {
  std::vector<const backend::Matrix*> pointers;
  for (const auto& matrix : weights)
    pointers.push_back(matrix.get());
  context.compute.grouped_gemm(x, pointers, offset, y);
  context.timeline.add_flops(2ull * x.rows * x.columns * y.columns);
}

}  // namespace

backend::Tensor experts_step(const Context& context, const LayerWeights& weights,
                             const backend::Tensor& rows, Workspace& workspace) {
  const plan::ModelSpec& spec = context.spec;
  const std::int64_t slices = context.local.slices.size();
  const std::int64_t width = spec.expert_ffn / context.reduction_shards * slices;
  const std::vector<std::int64_t>& offset = workspace.exchange.round.expert_offset;
  const auto tensor = [&](BufferName name, std::int64_t num_slices, std::int64_t columns) {
    return workspace.tensor(name, spec.dtype, num_slices, rows.rows, columns);
  };

  context.timeline.enter(base::Phase::experts);
  const backend::Tensor up = tensor(BufferName::up, 1, width);
  const backend::Tensor activated = tensor(BufferName::activated, slices, width / slices);
  grouped(context, rows, weights.up, offset, up);
  if (spec.expert_kind == plan::ExpertKind::glu) {
    const backend::Tensor gate = tensor(BufferName::gate, 1, width);
    grouped(context, rows, weights.gate, offset, gate);
    context.compute.glu(gate, up, kind_of(spec.activation), activated);
  } else {
    context.compute.activate(up, kind_of(spec.activation), activated);
  }
  const backend::Tensor partial = tensor(BufferName::expert_partial, slices, spec.hidden_size);
  for (std::int64_t slice = 0; slice < slices; ++slice)
    grouped(context, activated.slice(slice), weights.down[slice], offset, partial.slice(slice));
  return partial;
}

}  // namespace tetrarch::model
