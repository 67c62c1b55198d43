/// Brings output rows from the ranks that computed them to the rank that writes them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/timeline.hpp"
#include "engine/outbox.hpp"
#include "engine/topology.hpp"
#include "model/pass_rows.hpp"
#include "plan/memory.hpp"

namespace tetrarch::engine {

/// One rank of each (dp, ep) writes: tp rank 0 of the last stage. All other ranks post their rows
/// in the order in which they compute them, in pieces of at most piece_bytes, without waiting for
/// the writer. The writer takes the rows in the same order. Functions throw
/// SystemError(communication).
class Gatherer {
 public:
  static constexpr std::int64_t piece_bytes = plan::piece_bytes;
  /// Receives host rows; `first_row` counts over the rows of the pass (or of the call, for
  /// take_columns()). The memory is valid during the call.
  using Take = std::function<void(std::int64_t first_row, const backend::Tensor& rows)>;

  /// `outbox_bytes`: most bytes of rows that may be in transit. Keeps references to its arguments,
  /// which must outlive it.
  Gatherer(const Topology& topology, backend::Compute& compute, base::Timeline& timeline,
           std::int64_t outbox_bytes);

  /// Posts this rank's rows of a token-sharded tensor.
  void post_rows(const backend::Tensor& home);
  /// Posts this rank's columns of all rows. full_columns: number of columns of all tp ranks
  /// together.
  void post_columns(const backend::Tensor& columns, std::int64_t full_columns);
  void post_bytes(std::span<const std::byte> bytes);

  /// On the writer: takes the rows of all tp ranks of a stage, in order. `like` has their dtype and
  /// columns. `own`: this rank's rows if `stage` is its own stage, else null.
  void take_rows(int stage, const model::PassRows& pass, const backend::Tensor& like,
                 const backend::Tensor* own, const Take& take);
  /// On the writer: takes the columns of all tp ranks and places them side by side. `width`: number
  /// of columns of each rank; 0 for a rank that sends none. `own` as in take_rows().
  void take_columns(int stage, std::int64_t num_rows, base::DType dtype,
                    std::span<const std::int64_t> width, const backend::Tensor* own,
                    const Take& take);
  /// On the writer: returns what one rank posted by post_bytes().
  std::vector<std::byte> take_bytes(int stage, int tp_rank);

  /// Waits until everything posted has been sent.
  void flush() { outbox_.flush(); }

 private:
  int rank_of(int stage, int tp_rank) const;
  void receive(int from, std::span<std::byte> bytes, int tag);
  /// Downloads rows and posts them.
  void post_piece(const backend::Tensor& rows);

  const Topology& topology_;
  backend::Compute& compute_;
  base::Timeline& timeline_;
  Outbox outbox_;
  std::vector<std::byte> piece_, full_;
};

}  // namespace tetrarch::engine
