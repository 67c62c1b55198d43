// SPDX-License-Identifier: Apache-2.0
#include "model/token_exchange.hpp"

namespace tetrarch::model {

using base::DType;
using base::Phase;
using plan::BufferName;

DispatchRecord begin_dispatch(const Context& context, const backend::Tensor& normed,
                              Workspace& workspace) {
  const plan::ModelSpec& spec = context.spec;
  const Routing& routing = workspace.routing;
  const std::int64_t copies = routing.num_copies;

  context.timeline.enter(Phase::dispatch);
  const backend::Tensor counts =
      workspace.tensor(BufferName::counts, DType::i32, 1, context.stage.size(), spec.num_experts);
  if (context.stage.size() > 1)
    context.stage.all_gather_v(routing.count, std::vector<std::int64_t>(context.stage.size(), 1),
                               counts);
  DispatchRecord record;
  record.sent_ = workspace.tensor(BufferName::sent, spec.dtype, 1, copies, spec.hidden_size);
  context.compute.permute_rows(normed, routing.order, record.sent_);

  std::vector<std::int32_t> host(counts.elements());
  context.compute.download(counts, host.data());  // the only wait of a layer
  workspace.exchange.counts =
      ExchangeCounts(host, context.ep.size(), context.tp.size(), spec.num_experts);
  record.num_rounds_ = workspace.exchange.counts.num_rounds(workspace.round_rows());
  // With one ep rank all copies fit in one round, and the results are already at home.
  record.returned_ =
      workspace.tensor(context.ep.size() > 1 ? BufferName::returned : BufferName::expert_reduced,
                       spec.dtype, 1, copies, spec.hidden_size);
  return record;
}

backend::Tensor dispatch_round(const Context& context, const DispatchRecord& record,
                               std::int64_t round_index, Workspace& workspace) {
  const std::int64_t hidden = context.spec.hidden_size;
  const auto rows = [&](BufferName name, std::int64_t count) {
    return workspace.tensor(name, context.spec.dtype, 1, count, hidden);
  };
  ExchangeRound& round = workspace.exchange.round;

  context.timeline.enter(Phase::dispatch);
  plan_round(workspace.exchange.counts, context.ep.rank(), context.tp.rank(),
             workspace.round_rows(), round_index, round);
  backend::Tensor received = record.sent_;
  if (context.ep.size() > 1) {
    received = rows(BufferName::received, round.num_received());
    context.ep.all_to_all_v(record.sent_, round.send_count, round.send_offset, received,
                            round.receive_count, round.receive_offset);
    context.timeline.add_bytes(received.bytes());
  }

  backend::Tensor exchanged = received;
  if (context.tp.size() > 1) {
    context.timeline.enter(Phase::tp_gather);
    exchanged = rows(BufferName::exchanged, round.num_rows());
    context.tp.all_gather_v(received, round.peer_count, exchanged);
    context.timeline.add_bytes(exchanged.bytes() - received.bytes());
    context.timeline.enter(Phase::dispatch);
  }

  // one source: the sent rows are already grouped by expert
  if (context.stage.size() == 1) return exchanged;
  const backend::Tensor order =
      workspace.tensor(BufferName::expert_order, DType::i32, 1, round.num_rows(), 1);
  const backend::Tensor by_expert = rows(BufferName::expert_rows, round.num_rows());
  context.compute.upload(round.expert_order.data(), order);
  context.compute.permute_rows(exchanged, order, by_expert);
  return by_expert;
}

void return_round(const Context& context, DispatchRecord& record, const backend::Tensor& partial,
                  Workspace& workspace) {
  const plan::ModelSpec& spec = context.spec;
  const ExchangeRound& round = workspace.exchange.round;
  const auto rows = [&](BufferName name, std::int64_t slices, std::int64_t count) {
    return workspace.tensor(name, spec.dtype, slices, count, spec.hidden_size);
  };

  context.timeline.enter(Phase::tp_reduce);
  backend::ReduceScatter reduce;
  reduce.partial = partial;
  reduce.row_count = round.peer_count;
  reduce.out = rows(BufferName::expert_reduced, 1, round.num_received());
  if (context.stage.size() > 1) {
    reduce.index = workspace.tensor(BufferName::exchange_order, DType::i32, 1, round.num_rows(), 1);
    context.compute.upload(round.exchange_order.data(), reduce.index);
  }
  if (context.tp.size() > 1) {
    reduce.send_staging = rows(BufferName::exchanged, 1, round.num_rows());
    reduce.received =
        rows(BufferName::reduce_received, context.reduction_shards, round.num_received());
    context.timeline.add_bytes(reduce.received.bytes());
  }
  context.tp.tree_reduce_scatter_v(reduce);

  if (context.ep.size() == 1) return;
  context.timeline.enter(Phase::combine);
  context.ep.all_to_all_v(reduce.out, round.receive_count, round.receive_offset, record.returned_,
                          round.send_count, round.send_offset);
  context.timeline.add_bytes(reduce.out.bytes());
}

void combine(const Context& context, DispatchRecord&& record, Workspace& workspace) {
  const Routing& routing = workspace.routing;
  context.timeline.enter(Phase::combine);
  context.compute.combine(record.returned_, routing.position, routing.gate_weight,
                          workspace.residual(), workspace.residual_next());
  workspace.advance();
}

}  // namespace tetrarch::model
