/// Rows of a microbatch's part, from the ranks that have them to the one that writes them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/timeline.hpp"
#include "engine/outbox.hpp"
#include "engine/topology.hpp"
#include "model/microbatch.hpp"
#include "plan/memory.hpp"

namespace tetrarch::engine {

/// Of each (dp, ep) one rank writes: tp rank 0 of the last stage. All others post what they have in
/// the order in which it arises, in pieces of at most piece_bytes, and go on; the writer takes it
/// in the same order.
class Gatherer {
 public:
  static constexpr std::int64_t piece_bytes = plan::piece_bytes;
  /// Host rows in hand: `first_row` counts over the part's rows.
  using Take = std::function<void(std::int64_t first_row, const backend::Tensor& rows)>;

  /// `outbox_bytes`: of rows that may be on their way. Holds references; all outlive it.
  Gatherer(const Topology& topology, backend::Compute& compute, base::Timeline& timeline,
           std::int64_t outbox_bytes);

  /// This rank's rows of a token-sharded tensor, or its columns of all rows.
  void post_rows(const backend::Tensor& home);
  /// full_columns: of all tp ranks together.
  void post_columns(const backend::Tensor& columns, std::int64_t full_columns);
  void post_bytes(std::span<const std::byte> bytes);

  /// Writer: the rows of all tp ranks of a stage, in order. `own`: this rank's, when it is its own
  /// stage. `like`: their dtype and columns.
  void take_rows(int stage, const model::MicroBatch& batch, const backend::Tensor& like,
                 const backend::Tensor* own, const Take& take);
  /// Writer: columns of all tp ranks side by side. `width`: of each rank; 0 where it sends none.
  void take_columns(int stage, std::int64_t num_rows, base::DType dtype,
                    std::span<const std::int64_t> width, const backend::Tensor* own,
                    const Take& take);
  /// Writer: what one rank posted as bytes.
  std::vector<std::byte> take_bytes(int stage, int tp_rank);

  /// Waits until all that was posted has left.
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
