/// The interface by which ranks exchange rows of tensors. Ranks may have different numbers of rows:
/// each call takes the row counts of all ranks of the communicator.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "backend/tensor.hpp"

namespace tetrarch::backend {

/// The arguments of tree_reduce_scatter_v(). For each row, it sums all slices in a fixed order.
/// Each rank receives the sums of the rows that it owns.
struct ReduceScatter {
  // [local slices][rows][width], model dtype; local slice i is slice rank * (local slices) + i
  Tensor partial;
  std::span<const std::int64_t> row_count;  // number of rows that each rank receives
  Tensor index;         // [rows, 1] i32: output row i is row index[i] of `partial`; absent: row i
  Tensor residual;      // [own rows, width] or absent: added in f32 to the sum, before rounding
  Tensor out;           // [own rows, width], model dtype
  Tensor send_staging;  // [rows, width]; required if there is an index and more than one rank
  Tensor received;      // [all slices][own rows][width]; required on more than one rank
};

/// A group of ranks that exchange tensors. All members call the collectives in the same order. Only
/// tree_reduce_scatter_v() computes with floats, and it computes the sums itself: the transport
/// only moves bytes. Calls throw SystemError when the transport fails.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Gives every rank the rows of all ranks, in rank order. row_count[r] is the number of rows of
  /// rank r.
  /// send [row_count[rank()], width], receive [sum of row_count, width].
  virtual void all_gather_v(const Tensor& send, std::span<const std::int64_t> row_count,
                            const Tensor& receive) = 0;
  /// Sends rows [send_offset[r], send_offset[r] + send_count[r]) of `send` to each rank r. The rows
  /// from rank r are written to rows [receive_offset[r], receive_offset[r] + receive_count[r]) of
  /// `receive`.
  virtual void all_to_all_v(const Tensor& send, std::span<const std::int64_t> send_count,
                            std::span<const std::int64_t> send_offset, const Tensor& receive,
                            std::span<const std::int64_t> receive_count,
                            std::span<const std::int64_t> receive_offset) = 0;
  /// out[i] = round(residual[i] + sum of all slices of row i). The slices are summed in f32 by the
  /// binary tree ((s0 + s1) + (s2 + s3)) + ..., which is the same for every number of ranks.
  virtual void tree_reduce_scatter_v(const ReduceScatter& call) = 0;

  /// Sends a tensor to rank `to` of this communicator, which receives it by receive().
  virtual void send(const Tensor& tensor, int to) = 0;
  /// Receives a tensor of the same size in bytes that rank `from` sends. Waits for it.
  virtual void receive(const Tensor& tensor, int from) = 0;
};

}  // namespace tetrarch::backend
