/// Tokens to their experts and back: dispatch, combine, and the counts that both rest on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/context.hpp"
#include "model/workspace.hpp"

namespace tetrarch::model {

/// A layer's exchange in progress; made by begin_dispatch, used up by combine.
class DispatchRecord {
 public:
  DispatchRecord(DispatchRecord&&) = default;
  DispatchRecord& operator=(DispatchRecord&&) = default;
  DispatchRecord(const DispatchRecord&) = delete;
  DispatchRecord& operator=(const DispatchRecord&) = delete;
  std::int64_t num_rounds() const { return num_rounds_; }
  /// [copies, D] the experts' answers, in send order, once all rounds have returned.
  backend::Tensor answers() const { return returned_; }

 private:
  friend DispatchRecord begin_dispatch(const Context&, const backend::Tensor&, Workspace&);
  friend backend::Tensor dispatch_round(const Context&, const DispatchRecord&, std::int64_t,
                                        Workspace&);
  friend void return_round(const Context&, DispatchRecord&, const backend::Tensor&, Workspace&);
  friend void combine(const Context&, DispatchRecord&&, Workspace&);
  DispatchRecord() = default;

  backend::Tensor sent_;      // [copies, D] copies in send order
  backend::Tensor returned_;  // [copies, D] the experts' answers, in the same order
  std::int64_t num_rounds_ = 0;
};

/// Copies each normed row [home, D] once per chosen expert, and waits, once, for the counts of all
/// ranks. Collective over the stage: also ranks without tokens call it.
DispatchRecord begin_dispatch(const Context& context, const backend::Tensor& normed,
                              Workspace& workspace);

/// Moves one round of rows to the experts' ranks.
/// returns  rows [n, D] grouped by local expert, n <= round rows; workspace.exchange.round tells
///          which rows are whose
/// Collective over ep and tp.
backend::Tensor dispatch_round(const Context& context, const DispatchRecord& record,
                               std::int64_t round, Workspace& workspace);

/// Sums the reduction shards of the experts' answers in tree order and sends the rows of this round
/// home. partial [local slices][n][D], rows as dispatch_round returned them.
/// Collective over tp and ep.
void return_round(const Context& context, DispatchRecord& record, const backend::Tensor& partial,
                  Workspace& workspace);

/// residual += sum over a token's slots, in order, of gate weight times the expert's answer.
void combine(const Context& context, DispatchRecord&& record, Workspace& workspace);

}  // namespace tetrarch::model
