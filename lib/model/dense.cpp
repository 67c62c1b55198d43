// SPDX-License-Identifier: Apache-2.0
#include "model/dense.hpp"

#include "model/experts.hpp"
#include "model/row_operations.hpp"

namespace tetrarch::model {

using base::Phase;
using plan::BufferName;

namespace {

/// Computes the hidden rows of the FFN, [local slices][pass, F / V].
backend::Tensor activate(const Context& context, const LayerWeights& weights,
                         const backend::Tensor& x, const Workspace& workspace) {
  const plan::ModelSpec& spec = context.spec;
  const std::int64_t slices = context.local.slices.size();
  const std::int64_t width = weights.dense_up->outputs();
  const auto tensor = [&](BufferName name, std::int64_t num_slices) {
    return workspace.tensor(name, spec.dtype, num_slices, x.rows, width / num_slices);
  };

  const bool has_gate = spec.expert_kind == plan::ExpertKind::glu;
  const backend::Matrix* const gate[] = {weights.dense_gate.get()};
  const backend::Matrix* const up[] = {weights.dense_up.get()};
  const std::int64_t row_offset[] = {0, x.rows};
  const backend::Tensor activated = tensor(BufferName::activated, slices);
  context.compute.grouped_glu(
      {.x = x,
       .gate = std::span(gate, has_gate ? 1 : 0),
       .up = up,
       .row_offset = row_offset,
       .kind = kind_of(spec.activation),
       .gate_rows = has_gate ? tensor(BufferName::gate, 1) : backend::Tensor{},
       .up_rows = tensor(BufferName::up, 1),
       .out = activated});
  context.timeline.add_flops(2ull * x.rows * x.columns * width * (has_gate ? 2 : 1));
  return activated;
}

}  // namespace

void dense_step(const Context& context, const LayerWeights& weights, Workspace& workspace) {
  const plan::ModelSpec& spec = context.spec;
  const std::int64_t home = workspace.home().size();
  const std::int64_t slices = context.local.slices.size();
  const auto tensor = [&](BufferName name, std::int64_t num_slices, std::int64_t rows) {
    return workspace.tensor(name, spec.dtype, num_slices, rows, spec.hidden_size);
  };
  workspace.routing = {};

  context.timeline.enter(Phase::norm);
  const backend::Tensor normed = tensor(BufferName::normed, 1, home);
  context.compute.rms_norm(workspace.residual(), weights.moe_norm.tensor,
                           static_cast<float>(spec.norm_eps), normed);

  context.timeline.enter(Phase::tp_gather);
  const backend::Tensor x = gather_pass(context, workspace, normed);

  context.timeline.enter(Phase::experts);
  const backend::Tensor activated = activate(context, weights, x, workspace);
  const backend::Tensor partial = tensor(BufferName::expert_partial, slices, x.rows);
  for (std::int64_t slice = 0; slice < slices; ++slice)
    product(context, activated.slice(slice), *weights.dense_down[slice], partial.slice(slice));

  add_to_residual(context, partial, workspace);
}

}  // namespace tetrarch::model
