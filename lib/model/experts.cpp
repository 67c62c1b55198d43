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
  base::expects(false, "a known activation");
  return {};
}

namespace {

std::vector<const backend::Matrix*> pointers_to(const Matrices& weights) {
  std::vector<const backend::Matrix*> pointers;
  for (const auto& matrix : weights)
    pointers.push_back(matrix.get());
  return pointers;
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
  const bool has_gate = spec.expert_kind == plan::ExpertKind::glu;
  const std::vector<const backend::Matrix*> gate = pointers_to(weights.gate);
  const std::vector<const backend::Matrix*> up = pointers_to(weights.up);
  const backend::Tensor activated = tensor(BufferName::activated, slices, width / slices);
  context.compute.grouped_glu(
      {.x = rows,
       .gate = gate,
       .up = up,
       .row_offset = offset,
       .kind = kind_of(spec.activation),
       .gate_rows = has_gate ? tensor(BufferName::gate, 1, width) : backend::Tensor{},
       .up_rows = tensor(BufferName::up, 1, width),
       .out = activated});
  const backend::Tensor partial = tensor(BufferName::expert_partial, slices, spec.hidden_size);
  for (std::int64_t slice = 0; slice < slices; ++slice)
    context.compute.grouped_gemm(activated.slice(slice), pointers_to(weights.down[slice]), offset,
                                 partial.slice(slice));
  context.timeline.add_flops(2ull * rows.rows * spec.hidden_size * width * (has_gate ? 3 : 2));
  return partial;
}

}  // namespace tetrarch::model
