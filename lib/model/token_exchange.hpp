/// Sends tokens to the ranks of their experts (dispatch) and the experts' results back (combine).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// The state of a layer's exchange. begin_dispatch() creates it; combine() consumes it.
class DispatchRecord {
 public:
  DispatchRecord(DispatchRecord&&) = default;
  DispatchRecord& operator=(DispatchRecord&&) = default;
  DispatchRecord(const DispatchRecord&) = delete;
  DispatchRecord& operator=(const DispatchRecord&) = delete;
  std::int64_t num_rounds() const { return num_rounds_; }
  /// The experts' results [copies, D] in send order. Valid after all rounds have returned.
  backend::Tensor answers() const { return returned_; }

 private:
  friend DispatchRecord begin_dispatch(const Context&, const backend::Tensor&, Workspace&);
  friend backend::Tensor dispatch_round(const Context&, const DispatchRecord&, std::int64_t,
                                        Workspace&);
  friend void return_round(const Context&, DispatchRecord&, const backend::Tensor&, Workspace&);
  friend void combine(const Context&, DispatchRecord&&, Workspace&);
  DispatchRecord() = default;

  backend::Tensor sent_;      // [copies, D] copies in send order
  backend::Tensor returned_;  // [copies, D] the experts' results, in send order
  std::int64_t num_rounds_ = 0;
};

/// Copies each normed row [home, D] once for each chosen expert. Waits, once, for the counts of all
/// ranks. Collective over the stage: ranks without tokens call it too.
DispatchRecord begin_dispatch(const Context& context, const backend::Tensor& normed,
                              Workspace& workspace);

/// Sends the rows of one round to the ranks of their experts.
/// returns  rows [n, D] grouped by local expert, n <= workspace.round_rows();
///         workspace.exchange.round.expert_offset has the first row of each expert
/// Collective over ep and tp.
backend::Tensor dispatch_round(const Context& context, const DispatchRecord& record,
                               std::int64_t round, Workspace& workspace);

/// Sums the reduction shards of the experts' results in the fixed tree order, and sends the rows of
/// this round back to the tokens' homes. partial: [local slices][n][D], rows in the order that
/// dispatch_round() returned. Collective over tp and ep.
void return_round(const Context& context, DispatchRecord& record, const backend::Tensor& partial,
                  Workspace& workspace);

/// residual += sum of gate weight * expert's result over the top-k slots of each token, in order.
/// Local.
void combine(const Context& context, DispatchRecord&& record, Workspace& workspace);

}  // namespace tetrarch::model
