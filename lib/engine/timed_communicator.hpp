/// A communicator whose calls the timeline knows to be waiting or moving, not work.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/communicator.hpp"
#include "base/timeline.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// Whether ranks meet before they exchange, so that waiting for the last of them is told from
/// moving bytes; without, both count as moving.
enum class Meeting { none, first };

/// The sum that tree_reduce_scatter_v makes of what arrives counts as moving as well. Among one
/// rank all is work.
class TimedCommunicator final : public backend::Communicator {
 public:
  /// `peers`: the same ranks. Holds references; all outlive it.
  TimedCommunicator(backend::Communicator& inner, const mpi::Communicator& peers, Meeting meeting,
                    base::Timeline& timeline)
      : inner_(inner), peers_(peers), meeting_(meeting), timeline_(timeline) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void all_gather_v(const backend::Tensor& send, std::span<const std::int64_t> row_count,
                    const backend::Tensor& receive) override;
  void all_to_all_v(const backend::Tensor& send, std::span<const std::int64_t> send_count,
                    std::span<const std::int64_t> send_offset, const backend::Tensor& receive,
                    std::span<const std::int64_t> receive_count,
                    std::span<const std::int64_t> receive_offset) override;
  void tree_reduce_scatter_v(const backend::ReduceScatter& call) override;
  void send(const backend::Tensor& tensor, int to) override;
  /// Waiting and moving in one; counts as waiting.
  void receive(const backend::Tensor& tensor, int from) override;
  void broadcast(const backend::Tensor& tensor, int root) override;

 private:
  template <class Call>
  void collectively(const Call& call);

  backend::Communicator& inner_;
  const mpi::Communicator& peers_;
  Meeting meeting_;
  base::Timeline& timeline_;
};

}  // namespace tetrarch::engine
