/// How ranks exchange rows of tensors. Ragged: counts are rows, one per rank of the communicator.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "backend/tensor.hpp"

namespace tetrarch::backend {

/// Sums fixed slices in a fixed order and leaves to each rank its rows.
struct ReduceScatter {
  Tensor partial;  // [local slices][rows][width], model dtype: slices rank * local + 0, 1, ...
  std::span<const std::int64_t> row_count;  // rows that go to each rank, in rank order
  Tensor index;     // absent: row i of `partial` goes out i-th; else [rows, 1] i32: index[i] does
  Tensor residual;  // absent, or [own rows, width]: added in f32 to the sum before it is rounded
  Tensor out;       // [own rows, width], model dtype
  Tensor send_staging;  // [rows, width]; needed with an index on more than one rank
  Tensor received;      // [all slices][own rows][width]; needed on more than one rank
};

/// All members call each collective in the same order. No call computes floats but
/// tree_reduce_scatter_v, and that one never leaves a sum to the transport.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// received rows = rank 0's rows, rank 1's, ...; row_count[r] rows of rank r.
  /// send [row_count[rank()], width], receive [sum, width].
  virtual void all_gather_v(const Tensor& send, std::span<const std::int64_t> row_count,
                            const Tensor& receive) = 0;
  /// Rows [send_offset[r], + send_count[r]) of `send` go to rank r, and rank r's rows arrive at
  /// [receive_offset[r], + receive_count[r]) of `receive`.
  virtual void all_to_all_v(const Tensor& send, std::span<const std::int64_t> send_count,
                            std::span<const std::int64_t> send_offset, const Tensor& receive,
                            std::span<const std::int64_t> receive_count,
                            std::span<const std::int64_t> receive_offset) = 0;
  /// out[i] = round(residual[i] + tree(slices of row i)), slices summed in f32 by the binary tree
  /// ((s0 + s1) + (s2 + s3)) + ..., the same for every number of ranks.
  virtual void tree_reduce_scatter_v(const ReduceScatter& call) = 0;

  virtual void send(const Tensor& tensor, int to) = 0;
  virtual void receive(const Tensor& tensor, int from) = 0;
  virtual void broadcast(const Tensor& tensor, int root) = 0;
};

}  // namespace tetrarch::backend
