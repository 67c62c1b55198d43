// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/mpi_communicator.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>
#include <numeric>
#include <thread>

#include "backend/cpu/kernels/kernels.hpp"
#include "backend/cpu/kernels/testing.hpp"

namespace tetrarch::backend::cpu {
namespace {

using base::expects;
using base::OperationKind;

constexpr int message_tag = 0, exchange_tag = 1;
// Each piece that has moved counts as a sign of life for the watchdog. A piece of 16 MiB needs only
// 0.05 MB/s to pass within the watchdog's default of 300 s.
std::atomic<std::int64_t> piece_bytes{std::int64_t{16} << 20};
std::atomic<bool> is_reduction_plain{false};
std::atomic<base::Phase> left_out_phase{base::Phase::other};
std::atomic<int> left_out_in{0};  // leave out the N-th collective of that phase from now; 0: none
std::atomic<base::Phase> slow_phase{base::Phase::other};
std::atomic<double> slow_seconds{0};

/// For tests: true if this rank must leave out the collective that is about to begin.
bool is_left_out() {
  return left_out_in != 0 && base::flight_recorder().phase() == left_out_phase &&
         --left_out_in == 0;
}

/// Lets a test slow down one collective: wait() sleeps before each piece.
class Pace {
 public:
  Pace() : seconds_(base::flight_recorder().phase() == slow_phase ? slow_seconds.exchange(0) : 0) {}
  void wait() const {
    if (seconds_ > 0) std::this_thread::sleep_for(std::chrono::duration<double>(seconds_));
  }

 private:
  double seconds_;
};

std::span<std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data), static_cast<std::size_t>(tensor.bytes())};
}

void copy_rows(const Tensor& from, std::int64_t from_row, const Tensor& to, std::int64_t to_row,
               std::int64_t rows) {
  const Tensor source = from.row_range(from_row, rows), target = to.row_range(to_row, rows);
  if (source.bytes() > 0 && source.data != target.data)
    std::memmove(target.data, source.data, static_cast<std::size_t>(source.bytes()));
}

void expect_same_rows(const Tensor& a, const Tensor& b) {
  expects(a.dtype == b.dtype && a.columns == b.columns, "rows of one kind");
}

}  // namespace

void testing::set_plain_reduction(bool is_on) {
  is_reduction_plain = is_on;
}

void testing::set_left_out(base::Phase phase, int number) {
  left_out_phase = phase;
  left_out_in = number;
}

void testing::set_piece_bytes(std::int64_t bytes) {
  piece_bytes = bytes;
}

void testing::set_slow_exchange(base::Phase phase, double seconds) {
  slow_phase = phase;
  slow_seconds = seconds;
}

MpiCommunicator::MpiCommunicator(mpi::Communicator comm)
    : comm_(std::move(comm)), outgoing_(comm_.size()), incoming_(comm_.size()) {}

void MpiCommunicator::Places::set(std::size_t rank, std::int64_t rows, std::int64_t first) {
  constexpr std::int64_t most = std::numeric_limits<int>::max();
  expects(rows >= 0 && first >= 0 && rows <= most && first <= most, "fewer than 2^31 rows");
  count[rank] = static_cast<int>(rows);
  offset[rank] = static_cast<int>(first);
}

MPI_Datatype MpiCommunicator::row_type(std::int64_t bytes) {
  auto& type = row_types_[bytes];
  if (!type.has_value()) {
    expects(bytes >= 0 && bytes <= std::numeric_limits<int>::max(), "a row below 2 GiB");
    MPI_Datatype made = MPI_DATATYPE_NULL;
    mpi::check(MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &made),
               "MPI_Type_contiguous");
    type = base::Handle<MPI_Datatype, FreeDatatype>(made);
    mpi::check(MPI_Type_commit(&made), "MPI_Type_commit");
  }
  return type.get();
}

void MpiCommunicator::all_gather_v(const Tensor& send, std::span<const std::int64_t> row_count,
                                   const Tensor& receive) {
  const auto ranks = static_cast<std::size_t>(size()), own = static_cast<std::size_t>(rank());
  expect_same_rows(send, receive);
  expects(row_count.size() == ranks && row_count[own] == send.rows, "a row count per rank");
  const auto total = std::accumulate(row_count.begin(), row_count.end(), std::int64_t{0});
  expects(total <= receive.rows, "room for all rows");
  if (ranks == 1) return copy_rows(send, 0, receive, 0, send.rows);
  if (is_left_out()) return;
  const auto bytes = static_cast<std::uint64_t>(total * send.row_bytes());
  const base::Operation running(comm_.group(), {"all_gather_v", OperationKind::collective, bytes});
  const MPI_Datatype row = row_type(send.row_bytes());
  const std::int64_t step = rows_of_a_piece(send), most = *std::ranges::max_element(row_count);
  const Pace pace;
  for (std::int64_t begin = 0; begin < most; begin += step) {
    const auto rows_of = [&](std::size_t r) {
      return std::clamp(row_count[r] - begin, std::int64_t{0}, step);
    };
    std::int64_t first = 0;
    for (std::size_t r = 0; r < ranks; ++r) {
      incoming_.set(r, rows_of(r), first + std::min(begin, row_count[r]));
      first += row_count[r];
    }
    const auto at = std::min(begin, send.rows);
    const auto* rows = static_cast<const std::byte*>(send.data) + at * send.row_bytes();
    // The own rows may already be at their place in `receive`. MPI allows overlapping buffers only
    // with MPI_IN_PLACE.
    const auto* place =
        static_cast<const std::byte*>(receive.data) + incoming_.offset[own] * send.row_bytes();
    const void* from = rows == place ? MPI_IN_PLACE : rows;
    pace.wait();
    mpi::check(MPI_Allgatherv(from, incoming_.count[own], row, receive.data, incoming_.count.data(),
                              incoming_.offset.data(), row, comm_.get()),
               "MPI_Allgatherv");
    base::flight_recorder().moved();
  }
}

std::int64_t MpiCommunicator::rows_of_a_piece(const Tensor& tensor) const {
  return std::max<std::int64_t>(1, piece_bytes / std::max<std::int64_t>(1, tensor.row_bytes()));
}

/// Calls start(rows, peer) for each piece of the rows of each other rank. Ranks begin with the next
/// higher rank, so that not all of them send to the same rank first.
template <class Start>
void MpiCommunicator::start_pieces(const Tensor& tensor, const Places& places, const Start& start) {
  const std::int64_t step = rows_of_a_piece(tensor);
  for (int distance = 1; distance < size(); ++distance) {
    const int peer = (rank() + distance) % size();
    const auto at = static_cast<std::size_t>(peer);
    const std::int64_t first = places.offset[at], count = places.count[at];
    for (std::int64_t done = 0; done < count; done += step)
      start(tensor.row_range(first + done, std::min(step, count - done)), peer);
  }
}

/// Does what MPI_Alltoallv does, in pieces: MPI_Alltoallv cannot report progress to the watchdog.
void MpiCommunicator::exchange(const Tensor& send, const Tensor& receive) {
  const MPI_Datatype row = row_type(send.row_bytes());
  const Pace pace;
  start_pieces(receive, incoming_, [&](const Tensor& rows, int peer) {
    requests_.push_back(MPI_REQUEST_NULL);
    mpi::check(MPI_Irecv(rows.data, static_cast<int>(rows.rows), row, peer, exchange_tag,
                         comm_.get(), &requests_.back()),
               "MPI_Irecv");
  });
  start_pieces(send, outgoing_, [&](const Tensor& rows, int peer) {
    pace.wait();
    requests_.push_back(MPI_REQUEST_NULL);
    mpi::check(MPI_Isend(rows.data, static_cast<int>(rows.rows), row, peer, exchange_tag,
                         comm_.get(), &requests_.back()),
               "MPI_Isend");
    base::flight_recorder().moved();
  });
  const auto own = static_cast<std::size_t>(rank());
  if (outgoing_.count[own] > 0)
    copy_rows(send, outgoing_.offset[own], receive, incoming_.offset[own], outgoing_.count[own]);
  completed_.resize(requests_.size());
  for (int count = 0; count != MPI_UNDEFINED;) {
    mpi::check(MPI_Waitsome(static_cast<int>(requests_.size()), requests_.data(), &count,
                            completed_.data(), MPI_STATUSES_IGNORE),
               "MPI_Waitsome");
    base::flight_recorder().moved();
  }
  requests_.clear();
}

void MpiCommunicator::all_to_all_v(const Tensor& send, std::span<const std::int64_t> send_count,
                                   std::span<const std::int64_t> send_offset, const Tensor& receive,
                                   std::span<const std::int64_t> receive_count,
                                   std::span<const std::int64_t> receive_offset) {
  const auto ranks = static_cast<std::size_t>(size());
  expect_same_rows(send, receive);
  expects(send_count.size() == ranks && send_offset.size() == ranks &&
              receive_count.size() == ranks && receive_offset.size() == ranks,
          "a count and an offset per rank");
  for (std::size_t r = 0; r < ranks; ++r) {
    outgoing_.set(r, send_count[r], send_offset[r]);
    incoming_.set(r, receive_count[r], receive_offset[r]);
    expects(send_count[r] == 0 || send_offset[r] + send_count[r] <= send.rows,
            "rows inside the sent tensor");
    expects(receive_count[r] == 0 || receive_offset[r] + receive_count[r] <= receive.rows,
            "rows inside the received tensor");
  }
  if (ranks > 1) {
    if (is_left_out()) return;
    const std::int64_t rows =
        std::accumulate(send_count.begin(), send_count.end(), std::int64_t{0});
    const auto bytes = static_cast<std::uint64_t>(rows * send.row_bytes());
    const base::Operation running(comm_.group(),
                                  {"all_to_all_v", OperationKind::collective, bytes});
    return exchange(send, receive);
  }
  expects(send_count[0] == receive_count[0], "as many rows received as sent");
  if (send_count[0] > 0) copy_rows(send, send_offset[0], receive, receive_offset[0], send_count[0]);
}

/// Sends each slice of a row to the rank that owns the row. Local slice v of rank p arrives as
/// slice p * local + v of `received`.
void MpiCommunicator::scatter_slices(const ReduceScatter& call, std::int64_t own_rows) {
  const auto ranks = static_cast<std::size_t>(size());
  const std::int64_t local = call.partial.slices;
  Tensor received = call.received;
  expect_same_rows(call.partial, received);
  expects(received.slices == local * size() && received.rows == own_rows,
          "room for all slices of the own rows");
  received.rows *= received.slices;
  received.slices = 1;
  for (std::int64_t v = 0; v < local; ++v) {
    Tensor outgoing = call.partial.slice(v);
    if (!call.index.is_absent()) {
      expects(call.send_staging.rows >= outgoing.rows, "room to order the rows");
      permute_rows(outgoing, call.index, call.send_staging.row_range(0, outgoing.rows));
      outgoing.data = call.send_staging.data;
    }
    std::int64_t first = 0;
    for (std::size_t p = 0; p < ranks; ++p) {
      outgoing_.set(p, call.row_count[p], first);
      first += call.row_count[p];
      incoming_.set(p, own_rows, (static_cast<std::int64_t>(p) * local + v) * own_rows);
    }
    exchange(outgoing, received);
  }
}

void MpiCommunicator::tree_reduce_scatter_v(const ReduceScatter& call) {
  expects(call.row_count.size() == static_cast<std::size_t>(size()), "a row count per rank");
  const auto total = std::accumulate(call.row_count.begin(), call.row_count.end(), std::int64_t{0});
  const std::int64_t own_rows = call.row_count[static_cast<std::size_t>(rank())];
  expect_same_rows(call.partial, call.out);
  expects(call.index.is_absent() || call.index.rows == total, "an index per row that goes out");
  expects(!call.index.is_absent() || call.partial.rows == total, "each row goes to one rank");
  expects(call.out.rows == own_rows, "out has the own rows");
  expects(call.residual.is_absent() ||
              (call.residual.rows == own_rows && call.residual.dtype == call.out.dtype &&
               call.residual.columns == call.out.columns),
          "a residual like out");
  if (size() > 1 && !is_left_out()) {
    const auto bytes = static_cast<std::uint64_t>(call.partial.bytes());
    const base::Operation running(comm_.group(),
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
  comm_.send(bytes_of(tensor), to, message_tag);
}

void MpiCommunicator::receive(const Tensor& tensor, int from) {
  comm_.receive(bytes_of(tensor), from, message_tag);
}

}  // namespace tetrarch::backend::cpu
