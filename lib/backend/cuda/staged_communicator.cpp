// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/staged_communicator.hpp"

#include <numeric>

#include "backend/cuda/check.hpp"
#include "backend/cuda/kernels/experts.hpp"
#include "backend/cuda/kernels/tree_sum.hpp"
#include "backend/operands.hpp"
#include "base/flight_recorder.hpp"

namespace tetrarch::backend::cuda {
namespace {

using base::OperationKind;

constexpr int message_tag = 0;

mpi::Rows rows_of(const Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data), tensor.slices * tensor.rows, tensor.row_bytes()};
}

std::span<std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data), static_cast<std::size_t>(tensor.bytes())};
}

}  // namespace

StagedCommunicator::StagedCommunicator(mpi::Communicator comm, cudaStream_t stream)
    : exchange_(std::move(comm)),
      stream_(stream),
      outgoing_(static_cast<std::size_t>(size())),
      incoming_(static_cast<std::size_t>(size())) {}

/// A tensor in pinned memory, of the same shape.
Tensor StagedCommunicator::staged(PinnedMemory& memory, const Tensor& like) {
  Tensor host = like;
  host.data = memory.reserve(std::max<std::int64_t>(1, like.bytes()));
  return host;
}

/// A copy in pinned memory. Waits until all work on the stream is done.
Tensor StagedCommunicator::fetched(const Tensor& from) {
  const Tensor host = staged(sent_, from);
  if (from.bytes() > 0)
    check(cudaMemcpyAsync(host.data, from.data, static_cast<std::size_t>(from.bytes()),
                          cudaMemcpyDeviceToHost, stream_),
          "cudaMemcpyAsync from the device");
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  return host;
}

/// Enqueues the copy of pinned rows to the device. fetched() waits for it before the pinned memory
/// is used again.
void StagedCommunicator::put(const Tensor& host, const Tensor& device) {
  if (host.bytes() == 0) return;
  check(cudaMemcpyAsync(device.data, host.data, static_cast<std::size_t>(host.bytes()),
                        cudaMemcpyHostToDevice, stream_),
        "cudaMemcpyAsync to the device");
}

void StagedCommunicator::all_gather_v(const Tensor& send, std::span<const std::int64_t> row_count,
                                      const Tensor& receive) {
  const std::int64_t total = operands::all_gather_v(send, row_count, receive, rank(), size());
  if (size() > 1 && mpi::is_left_out()) return;
  const base::Operation running(exchange_.comm().group(),
                                {"all_gather_v", OperationKind::collective,
                                 static_cast<std::uint64_t>(total * send.row_bytes())});
  const Tensor rows = fetched(send);
  const Tensor all = staged(received_, receive.row_range(0, total));
  exchange_.all_gather(rows_of(rows), row_count, rows_of(all));
  put(all, receive.row_range(0, total));
}

void StagedCommunicator::all_to_all_v(const Tensor& send, std::span<const std::int64_t> send_count,
                                      std::span<const std::int64_t> send_offset,
                                      const Tensor& receive,
                                      std::span<const std::int64_t> receive_count,
                                      std::span<const std::int64_t> receive_offset) {
  operands::all_to_all_v(send, send_count, send_offset, receive, receive_count, receive_offset,
                         rank(), size());
  if (size() > 1 && mpi::is_left_out()) return;
  const std::int64_t sent = std::accumulate(send_count.begin(), send_count.end(), std::int64_t{0});
  const base::Operation running(exchange_.comm().group(),
                                {"all_to_all_v", OperationKind::collective,
                                 static_cast<std::uint64_t>(sent * send.row_bytes())});
  const Tensor rows = fetched(send);
  const Tensor arrived = staged(received_, receive);
  for (std::size_t r = 0; r < outgoing_.size(); ++r) {
    outgoing_[r] = {send_count[r], send_offset[r]};
    incoming_[r] = {receive_count[r], receive_offset[r]};
  }
  exchange_.all_to_all(rows_of(rows), outgoing_, rows_of(arrived), incoming_);
  for (const auto& [count, first] : incoming_)
    if (count > 0) put(arrived.row_range(first, count), receive.row_range(first, count));
}

/// Sends each slice of a row to the rank that owns the row. Local slice v of rank p arrives as
/// slice p * local + v of `received`.
void StagedCommunicator::scatter_slices(const ReduceScatter& call, std::int64_t own_rows) {
  const std::int64_t local = call.partial.slices;
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");  // received_ may still be read
  const Tensor arrived = staged(received_, call.received.flat());
  for (std::int64_t v = 0; v < local; ++v) {
    Tensor outgoing = call.partial.slice(v);
    if (!call.index.is_absent()) {
      const Tensor ordered = call.send_staging.row_range(0, call.index.rows);
      permute_rows(stream_, outgoing, call.index, ordered);
      outgoing = ordered;
    }
    std::int64_t first = 0;
    for (std::size_t p = 0; p < outgoing_.size(); ++p) {
      outgoing_[p] = {call.row_count[p], first};
      first += call.row_count[p];
      incoming_[p] = {own_rows, (static_cast<std::int64_t>(p) * local + v) * own_rows};
    }
    exchange_.all_to_all(rows_of(fetched(outgoing)), outgoing_, rows_of(arrived), incoming_);
  }
  put(arrived, call.received.flat());
}

void StagedCommunicator::tree_reduce_scatter_v(const ReduceScatter& call) {
  const std::int64_t own_rows = operands::tree_reduce_scatter_v(call, rank(), size());
  if (size() == 1) return tree_sum(stream_, call.partial, call.index, call.residual, call.out);
  if (!mpi::is_left_out()) {
    const base::Operation running(exchange_.comm().group(),
                                  {"tree_reduce_scatter_v", OperationKind::collective,
                                   static_cast<std::uint64_t>(call.partial.bytes())});
    scatter_slices(call, own_rows);
  }
  tree_sum(stream_, call.received, Tensor{}, call.residual, call.out);
}

void StagedCommunicator::send(const Tensor& tensor, int to) {
  exchange_.comm().send(bytes_of(fetched(tensor)), to, message_tag);
}

void StagedCommunicator::receive(const Tensor& tensor, int from) {
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  const Tensor host = staged(received_, tensor);
  exchange_.comm().receive(bytes_of(host), from, message_tag);
  put(host, tensor);
}

}  // namespace tetrarch::backend::cuda
