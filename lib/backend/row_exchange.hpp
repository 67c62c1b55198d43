/// Moves rows of host memory between ranks by MPI. The transport under communicators of tensors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>
#include <vector>

#include "backend/tensor.hpp"
#include "base/handle.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::backend {

struct FreeDatatype {
  static MPI_Datatype empty() { return MPI_DATATYPE_NULL; }
  void operator()(MPI_Datatype type) const noexcept { MPI_Type_free(&type); }
};

/// Exchanges rows in pieces, so that each piece that has moved is a sign of life for the watchdog.
/// Tensors must be in host memory and have one slice; a row is smaller than 2 GiB, and a tensor has
/// fewer than 2^31 rows. Calls are collective over the communicator and throw SystemError when MPI
/// fails.
class RowExchange {
 public:
  explicit RowExchange(mpi::Communicator comm);
  int rank() const { return comm_.rank(); }
  int size() const { return comm_.size(); }
  const mpi::Communicator& comm() const { return comm_; }

  /// Gives every rank the rows of all ranks, in rank order. row_count[r] is the number of rows of
  /// rank r; the own rows may already be at their place in `receive`.
  void all_gather(const Tensor& send, std::span<const std::int64_t> row_count,
                  const Tensor& receive);

  /// Rows [first, first + count) of a tensor, which go to one rank or come from it.
  struct Rows {
    std::int64_t count = 0, first = 0;
  };
  /// Sends outgoing[r] of `send` to each rank r, and writes what rank r sends to incoming[r] of
  /// `receive`. Does what MPI_Alltoallv does; MPI_Alltoallv cannot report progress.
  void all_to_all(const Tensor& send, std::span<const Rows> outgoing, const Tensor& receive,
                  std::span<const Rows> incoming);

 private:
  std::int64_t rows_of_a_piece(const Tensor& tensor) const;
  template <class Start>
  void start_pieces(const Tensor& tensor, std::span<const Rows> rows, const Start& start);
  MPI_Datatype row_type(std::int64_t bytes);

  mpi::Communicator comm_;
  std::map<std::int64_t, base::Handle<MPI_Datatype, FreeDatatype>> row_types_;
  std::vector<int> counts_, offsets_;  // kept so that calls do not allocate
  std::vector<MPI_Request> requests_;  // of the running exchange; empty between exchanges
  std::vector<int> completed_;
};

/// For tests: true if this rank must leave out the collective that is about to begin.
bool is_left_out();
/// Copies rows of host memory.
void copy_rows(const Tensor& from, std::int64_t from_row, const Tensor& to, std::int64_t to_row,
               std::int64_t rows);

}  // namespace tetrarch::backend
