// SPDX-License-Identifier: Apache-2.0
#include "engine/timed_communicator.hpp"

namespace tetrarch::engine {

using backend::Tensor;
using base::Activity;
using base::During;

template <class Call>
void TimedCommunicator::collectively(const Call& call) {
  if (size() == 1) return call();
  if (meeting_ == Meeting::first) {
    const During waiting(timeline_, Activity::waiting);
    peers_.barrier();
  }
  const During moving(timeline_, Activity::moving);
  call();
}

void TimedCommunicator::all_gather_v(const Tensor& send, std::span<const std::int64_t> row_count,
                                     const Tensor& receive) {
  collectively([&] { inner_.all_gather_v(send, row_count, receive); });
}

void TimedCommunicator::all_to_all_v(const Tensor& send, std::span<const std::int64_t> send_count,
                                     std::span<const std::int64_t> send_offset,
                                     const Tensor& receive,
                                     std::span<const std::int64_t> receive_count,
                                     std::span<const std::int64_t> receive_offset) {
  collectively([&] {
    inner_.all_to_all_v(send, send_count, send_offset, receive, receive_count, receive_offset);
  });
}

void TimedCommunicator::tree_reduce_scatter_v(const backend::ReduceScatter& call) {
  collectively([&] { inner_.tree_reduce_scatter_v(call); });
}

void TimedCommunicator::send(const Tensor& tensor, int to) {
  const During moving(timeline_, Activity::moving);
  inner_.send(tensor, to);
}

void TimedCommunicator::receive(const Tensor& tensor, int from) {
  const During waiting(timeline_, Activity::waiting);
  inner_.receive(tensor, from);
}

}  // namespace tetrarch::engine
