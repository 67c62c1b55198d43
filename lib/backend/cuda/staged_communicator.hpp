/// Exchanges rows of tensors of the device by MPI, through pinned host memory. Several ranks may
/// share a GPU. Each call waits for the device.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "backend/communicator.hpp"
#include "backend/cuda/memory.hpp"
#include "mpi/row_exchange.hpp"

namespace tetrarch::backend::cuda {

class StagedCommunicator final : public Communicator {
 public:
  /// Copies and sums are enqueued on `stream`, which must live longer.
  StagedCommunicator(mpi::Communicator comm, cudaStream_t stream);
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
  Tensor staged(PinnedMemory& memory, const Tensor& like);
  Tensor fetched(const Tensor& from);
  void put(const Tensor& host, const Tensor& device);
  void scatter_slices(const ReduceScatter& call, std::int64_t own_rows);

  mpi::RowExchange exchange_;
  cudaStream_t stream_;
  PinnedMemory sent_, received_;
  std::vector<mpi::RowExchange::Range> outgoing_, incoming_;  // kept so that calls do not allocate
};

}  // namespace tetrarch::backend::cuda
