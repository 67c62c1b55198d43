// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/mpi_communicator.hpp"

#include <atomic>
#include <numeric>

#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/testing.hpp"
#include "backend/operands.hpp"
#include "base/flight_recorder.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::OperationKind;

constexpr int message_tag = 0;
std::atomic<bool> is_reduction_plain{false};

mpi::Rows rows_of(const Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data), tensor.slices * tensor.rows, tensor.row_bytes()};
}

std::span<std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data), static_cast<std::size_t>(tensor.bytes())};
}

}  // namespace

void testing::set_plain_reduction(bool is_on) {
  is_reduction_plain = is_on;
}

MpiCommunicator::MpiCommunicator(mpi::Communicator comm)
    : exchange_(std::move(comm)),
      outgoing_(static_cast<std::size_t>(size())),
      incoming_(static_cast<std::size_t>(size())) {}

void MpiCommunicator::all_gather_v(const Tensor& send, std::span<const std::int64_t> row_count,
                                   const Tensor& receive) {
  const std::int64_t total = operands::all_gather_v(send, row_count, receive, rank(), size());
  if (size() == 1) return mpi::copy_rows(rows_of(send), rows_of(receive.row_range(0, send.rows)));
  if (mpi::is_left_out()) return;
  const auto bytes = static_cast<std::uint64_t>(total * send.row_bytes());
  const base::Operation running(exchange_.comm().group(),
                                {"all_gather_v", OperationKind::collective, bytes});
  exchange_.all_gather(rows_of(send), row_count, rows_of(receive));
}

void MpiCommunicator::all_to_all_v(const Tensor& send, std::span<const std::int64_t> send_count,
                                   std::span<const std::int64_t> send_offset, const Tensor& receive,
                                   std::span<const std::int64_t> receive_count,
                                   std::span<const std::int64_t> receive_offset) {
  operands::all_to_all_v(send, send_count, send_offset, receive, receive_count, receive_offset,
                         rank(), size());
  if (size() == 1) {
    if (send_count[0] > 0)
      mpi::copy_rows(rows_of(send.row_range(send_offset[0], send_count[0])),
                     rows_of(receive.row_range(receive_offset[0], send_count[0])));
    return;
  }
  if (mpi::is_left_out()) return;
  const std::int64_t rows = std::accumulate(send_count.begin(), send_count.end(), std::int64_t{0});
  const auto bytes = static_cast<std::uint64_t>(rows * send.row_bytes());
  const base::Operation running(exchange_.comm().group(),
                                {"all_to_all_v", OperationKind::collective, bytes});
  for (std::size_t r = 0; r < outgoing_.size(); ++r) {
    outgoing_[r] = {send_count[r], send_offset[r]};
    incoming_[r] = {receive_count[r], receive_offset[r]};
  }
  exchange_.all_to_all(rows_of(send), outgoing_, rows_of(receive), incoming_);
}

/// Sends each slice of a row to the rank that owns the row. Local slice v of rank p arrives as
/// slice p * local + v of `received`.
void MpiCommunicator::scatter_slices(const ReduceScatter& call, std::int64_t own_rows) {
  const std::int64_t local = call.partial.slices;
  const mpi::Rows received = rows_of(call.received);
  for (std::int64_t v = 0; v < local; ++v) {
    Tensor outgoing = call.partial.slice(v);
    if (!call.index.is_absent()) {
      permute_rows(outgoing, call.index, call.send_staging.row_range(0, outgoing.rows));
      outgoing.data = call.send_staging.data;
    }
    std::int64_t first = 0;
    for (std::size_t p = 0; p < outgoing_.size(); ++p) {
      outgoing_[p] = {call.row_count[p], first};
      first += call.row_count[p];
      incoming_[p] = {own_rows, (static_cast<std::int64_t>(p) * local + v) * own_rows};
    }
    exchange_.all_to_all(rows_of(outgoing), outgoing_, received, incoming_);
  }
}

void MpiCommunicator::tree_reduce_scatter_v(const ReduceScatter& call) {
  const std::int64_t own_rows = operands::tree_reduce_scatter_v(call, rank(), size());
  if (size() > 1 && !mpi::is_left_out()) {
    const auto bytes = static_cast<std::uint64_t>(call.partial.bytes());
    const base::Operation running(exchange_.comm().group(),
                                  {"tree_reduce_scatter_v", OperationKind::collective, bytes});
    scatter_slices(call, own_rows);
  }
  const Tensor& slices = size() > 1 ? call.received : call.partial;
  const Tensor index = size() > 1 ? Tensor{} : call.index;
  if (is_reduction_plain)
    plain_sum(slices, call.partial.slices, index, call.residual, call.out);
  else
    tree_sum(slices, index, call.residual, call.out);
}

void MpiCommunicator::send(const Tensor& tensor, int to) {
  exchange_.comm().send(bytes_of(tensor), to, message_tag);
}

void MpiCommunicator::receive(const Tensor& tensor, int from) {
  exchange_.comm().receive(bytes_of(tensor), from, message_tag);
}

}  // namespace tetrarch::backend::cpu
