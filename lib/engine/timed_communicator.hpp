/// A communicator that records the time of its calls in the timeline as waiting or moving, not as
/// work.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/communicator.hpp"
#include "base/timeline.hpp"
#include "mpi/communicator.hpp"

namespace tetrarch::engine {

/// first: ranks meet at a barrier before each collective; the time in the barrier counts as
/// waiting, the collective as moving bytes. none: no barrier; waiting for the last rank counts as
/// moving too.
enum class Meeting { none, first };

/// Passes each call to another communicator and measures it. The sums in tree_reduce_scatter_v()
/// count as moving. With one rank, everything counts as work.
class TimedCommunicator final : public backend::Communicator {
 public:
  /// `peers`: an MPI communicator of the same ranks, for barriers. Keeps references to its
  /// arguments, which must outlive it.
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
  /// Waits and moves in one call; all of it counts as waiting.
  void receive(const backend::Tensor& tensor, int from) override;

 private:
  template <class Call>
  void collectively(const Call& call);

  backend::Communicator& inner_;
  const mpi::Communicator& peers_;
  Meeting meeting_;
  base::Timeline& timeline_;
};

}  // namespace tetrarch::engine
