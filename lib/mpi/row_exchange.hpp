/// Moves rows of host memory between ranks by MPI. The transport under communicators of tensors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/handle.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::mpi {

struct FreeDatatype {
  static MPI_Datatype empty() { return MPI_DATATYPE_NULL; }
  void operator()(MPI_Datatype type) const noexcept { MPI_Type_free(&type); }
};

/// Rows of host memory without gaps; every row has the same number of bytes.
struct Rows {
  std::byte* data = nullptr;
  std::int64_t count = 0;
  std::int64_t row_bytes = 0;
  Rows range(std::int64_t first, std::int64_t number) const {
    base::expects(first >= 0 && number >= 0 && first + number <= count, "a range inside the rows");
    return {data + first * row_bytes, number, row_bytes};
  }
  std::int64_t bytes() const { return count * row_bytes; }
};

/// Exchanges rows in pieces, so that each piece that has moved is a sign of life for the watchdog.
/// A row is smaller than 2 GiB, and there are fewer than 2^31 rows. Calls are collective over the
/// communicator and throw SystemError when MPI fails.
class RowExchange {
 public:
  explicit RowExchange(Communicator comm);
  int rank() const { return comm_.rank(); }
  int size() const { return comm_.size(); }
  const Communicator& comm() const { return comm_; }

  /// Gives every rank the rows of all ranks, in rank order. row_count[r] is the number of rows of
  /// rank r; the own rows may already be at their place in `receive`.
  void all_gather(const Rows& send, std::span<const std::int64_t> row_count, const Rows& receive);

  /// Rows [first, first + count), which go to one rank or come from it.
  struct Range {
    std::int64_t count = 0, first = 0;
  };
  /// Sends outgoing[r] of `send` to each rank r, and writes what rank r sends to incoming[r] of
  /// `receive`. Does what MPI_Alltoallv does; MPI_Alltoallv cannot report progress.
  void all_to_all(const Rows& send, std::span<const Range> outgoing, const Rows& receive,
                  std::span<const Range> incoming);

 private:
  std::int64_t rows_of_a_piece(const Rows& rows) const;
  template <class Start>
  void start_pieces(const Rows& rows, std::span<const Range> ranges, const Start& start);
  MPI_Datatype row_type(std::int64_t bytes);

  Communicator comm_;
  std::map<std::int64_t, base::Handle<MPI_Datatype, FreeDatatype>> row_types_;
  std::vector<int> counts_, offsets_;  // kept so that calls do not allocate
  std::vector<MPI_Request> requests_;  // of the running exchange; empty between exchanges
  std::vector<int> completed_;
};

/// For tests: true if this rank must leave out the collective that is about to begin.
bool is_left_out();
/// Copies rows; source and target may overlap.
void copy_rows(const Rows& from, const Rows& to);

}  // namespace tetrarch::mpi
