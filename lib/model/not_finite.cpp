// SPDX-License-Identifier: Apache-2.0
#include "model/not_finite.hpp"

#include <algorithm>
#include <tuple>

#include "model/observer.hpp"

namespace tetrarch::model {

using backend::Tensor;
using base::DType;
using plan::BufferName;

namespace {

/// Numbers the steps of a layer. Origins that the same look_at function tells apart have the same
/// number: between them the position in the sequence decides.
int step_of(Origin origin) {
  switch (origin) {
    case Origin::embedding:
      return 0;
    case Origin::attention:
      return 1;
    case Origin::ffn_norm:
    case Origin::router:
      return 2;
    case Origin::expert:
    case Origin::experts:
    case Origin::dense:
      return 3;
    case Origin::final_norm:
      return 4;
    case Origin::head:
      return 5;
    case Origin::pooling:
      return 6;
  }
  base::expects(false, "a known origin of non-finite values");
  return 0;
}

std::vector<std::int32_t> finite_flags(const Context& context, const Tensor& rows,
                                       const Workspace& workspace) {
  const Tensor flag = workspace.tensor(BufferName::finite_flags, DType::i32, 1, rows.rows, 1);
  context.compute.row_is_finite(rows, flag);
  std::vector<std::int32_t> host(static_cast<std::size_t>(rows.rows));
  context.compute.download(flag, host.data());
  return host;
}

bool is_finite_row(const Context& context, const Tensor& rows, std::int64_t row,
                   const Workspace& workspace) {
  return finite_flags(context, rows.row_range(row, 1), workspace).front() != 0;
}

std::vector<std::int32_t> integers_of_row(const Context& context, const Tensor& rows,
                                          std::int64_t row) {
  std::vector<std::int32_t> host(static_cast<std::size_t>(rows.columns));
  context.compute.download(rows.row_range(row, 1), host.data());
  return host;
}

struct Cause {
  Origin origin;
  std::int32_t number = -1;
};

/// Reports the first row of each run, among the home rows, that is not finite. cause_of(home row)
/// returns the cause.
template <class CauseOf>
void look(const Context& context, std::int64_t layer, const Tensor& rows,
          const Workspace& workspace, Observer& observer, const CauseOf& cause_of) {
  context.timeline.enter(base::Phase::norm);
  const std::vector<std::int32_t> flags = finite_flags(context, rows, workspace);
  if (std::ranges::find(flags, 0) == flags.end()) return;
  const plan::Range home = workspace.home();
  std::int64_t begin = 0;  // first row of the run
  for (const SequenceRows& run : workspace.pass_rows().rows) {
    const std::int64_t end = std::min(begin + run.count, home.end);
    for (std::int64_t row = std::max(begin, home.begin); row < end; ++row) {
      if (flags[static_cast<std::size_t>(row - home.begin)] != 0) continue;
      const Cause cause = cause_of(row - home.begin);
      observer.not_finite(
          {run.sequence, layer, run.first_position + row - begin, cause.origin, cause.number});
      break;
    }
    begin += run.count;
  }
}

}  // namespace

bool NotFinite::comes_before(const NotFinite& other) const {
  return std::tuple(layer, step_of(origin), position) <
         std::tuple(other.layer, step_of(other.origin), other.position);
}

void look_at_embedding(const Context& context, const Workspace& workspace, Observer& observer) {
  look(context, -1, workspace.residual(), workspace, observer, [&](std::int64_t row) {
    return Cause{Origin::embedding, workspace.pass_rows().token[workspace.home().begin + row]};
  });
}

void look_at_attention(const Context& context, std::int64_t layer, const Workspace& workspace,
                       Observer& observer) {
  look(context, layer, workspace.residual(), workspace, observer,
       [](std::int64_t) { return Cause{Origin::attention}; });
}

void look_at_router(const Context& context, std::int64_t layer, const Tensor& normed,
                    const Workspace& workspace, Observer& observer) {
  const Tensor logits = workspace.tensor(BufferName::router_logits, DType::f32, 1, normed.rows,
                                         context.spec.num_experts);
  look(context, layer, logits, workspace, observer, [&](std::int64_t row) {
    const bool is_right = is_finite_row(context, normed, row, workspace);
    return Cause{is_right ? Origin::router : Origin::ffn_norm};
  });
}

void look_at_experts(const Context& context, std::int64_t layer, const Tensor& answers,
                     const Workspace& workspace, Observer& observer) {
  look(context, layer, workspace.residual(), workspace, observer, [&](std::int64_t row) {
    const Routing& routing = workspace.routing;
    const auto place = integers_of_row(context, routing.position, row);
    const auto expert = integers_of_row(context, routing.expert_id, row);
    for (std::size_t slot = 0; slot < place.size(); ++slot)
      if (place[slot] >= 0 && !is_finite_row(context, answers, place[slot], workspace))
        return Cause{Origin::expert, expert[slot]};
    return Cause{Origin::experts};
  });
}

void look_at_dense(const Context& context, std::int64_t layer, const Workspace& workspace,
                   Observer& observer) {
  const Tensor normed = workspace.tensor(BufferName::normed, context.spec.dtype, 1,
                                         workspace.home().size(), context.spec.hidden_size);
  look(context, layer, workspace.residual(), workspace, observer, [&](std::int64_t row) {
    const bool is_right = is_finite_row(context, normed, row, workspace);
    return Cause{is_right ? Origin::dense : Origin::ffn_norm};
  });
}

void look_at_final_norm(const Context& context, const Tensor& normed, const Workspace& workspace,
                        Observer& observer) {
  look(context, context.spec.num_layers, normed, workspace, observer,
       [](std::int64_t) { return Cause{Origin::final_norm}; });
}

}  // namespace tetrarch::model
