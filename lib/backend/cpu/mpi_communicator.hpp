/// Exchanges rows of tensors between ranks by MPI. Sums are computed here, never by MPI.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "backend/communicator.hpp"
#include "mpi/row_exchange.hpp"

namespace tetrarch::backend::cpu {

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(mpi::Communicator comm);
  int rank() const override { return exchange_.rank(); }
  int size() const override { return exchange_.size(); }

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
  void scatter_slices(const ReduceScatter& call, std::int64_t own_rows);

  mpi::RowExchange exchange_;
  std::vector<mpi::RowExchange::Range> outgoing_, incoming_;  // kept so that calls do not allocate
};

}  // namespace tetrarch::backend::cpu
