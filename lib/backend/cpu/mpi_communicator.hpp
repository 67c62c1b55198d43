/// Exchanges rows of tensors between ranks by MPI. Sums are computed here, never by MPI.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <vector>

#include "backend/communicator.hpp"
#include "base/handle.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::backend::cpu {

struct FreeDatatype {
  static MPI_Datatype empty() { return MPI_DATATYPE_NULL; }
  void operator()(MPI_Datatype type) const noexcept { MPI_Type_free(&type); }
};

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(mpi::Communicator comm);
  int rank() const override { return comm_.rank(); }
  int size() const override { return comm_.size(); }

  void all_gather_v(const Tensor& send, std::span<const std::int64_t> row_count,
                    const Tensor& receive) override;
  void all_to_all_v(const Tensor& send, std::span<const std::int64_t> send_count,
                    std::span<const std::int64_t> send_offset, const Tensor& receive,
                    std::span<const std::int64_t> receive_count,
                    std::span<const std::int64_t> receive_offset) override;
  void tree_reduce_scatter_v(const ReduceScatter& call) override;
  void send(const Tensor& tensor, int to) override;
  void receive(const Tensor& tensor, int from) override;

 private:
  /// Row counts and row offsets of an MPI call, kept so that calls do not allocate.
  struct Places {
    std::vector<int> count, offset;
    explicit Places(int size)
        : count(static_cast<std::size_t>(size)), offset(static_cast<std::size_t>(size)) {}
    void set(std::size_t rank, std::int64_t rows, std::int64_t first);
  };

  void exchange(const Tensor& send, const Tensor& receive);
  std::int64_t rows_of_a_piece(const Tensor& tensor) const;
  template <class Start>
  void start_pieces(const Tensor& tensor, const Places& places, const Start& start);
  void scatter_slices(const ReduceScatter& call, std::int64_t own_rows);
  MPI_Datatype row_type(std::int64_t bytes);

  mpi::Communicator comm_;
  std::map<std::int64_t, base::Handle<MPI_Datatype, FreeDatatype>> row_types_;
  Places outgoing_, incoming_;
  std::vector<MPI_Request> requests_;  // of the running exchange; empty between exchanges
  std::vector<int> completed_;
};

}  // namespace tetrarch::backend::cpu
