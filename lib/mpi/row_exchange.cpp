// SPDX-License-Identifier: Apache-2.0
#include "mpi/row_exchange.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>
#include <numeric>
#include <thread>

#include "base/flight_recorder.hpp"
#include "mpi/row_exchange_testing.hpp"

namespace tetrarch::mpi {
namespace {

using base::expects;

constexpr int exchange_tag = 1;
// A piece of 16 MiB needs only 0.05 MB/s to pass within the watchdog's default of 300 s.
std::atomic<std::int64_t> piece_bytes{std::int64_t{16} << 20};
std::atomic<base::Phase> left_out_phase{base::Phase::other};
std::atomic<int> left_out_in{0};  // leave out the N-th collective of that phase from now; 0: none
std::atomic<base::Phase> slow_phase{base::Phase::other};
std::atomic<double> slow_seconds{0};

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

/// A number of rows as MPI takes it.
int counted(std::int64_t rows) {
  expects(rows >= 0 && rows <= std::numeric_limits<int>::max(), "fewer than 2^31 rows");
  return static_cast<int>(rows);
}

}  // namespace

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

bool is_left_out() {
  return left_out_in != 0 && base::flight_recorder().phase() == left_out_phase &&
         --left_out_in == 0;
}

void copy_rows(const Rows& from, const Rows& to) {
  base::expects(from.count == to.count && from.row_bytes == to.row_bytes, "rows of one size");
  if (from.bytes() > 0 && from.data != to.data)
    std::memmove(to.data, from.data, static_cast<std::size_t>(from.bytes()));
}

RowExchange::RowExchange(Communicator comm)
    : comm_(std::move(comm)),
      counts_(static_cast<std::size_t>(comm_.size())),
      offsets_(static_cast<std::size_t>(comm_.size())) {}

MPI_Datatype RowExchange::row_type(std::int64_t bytes) {
  auto& type = row_types_[bytes];
  if (!type.has_value()) {
    expects(bytes >= 0 && bytes <= std::numeric_limits<int>::max(), "a row below 2 GiB");
    MPI_Datatype made = MPI_DATATYPE_NULL;
    check(MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &made), "MPI_Type_contiguous");
    type = base::Handle<MPI_Datatype, FreeDatatype>(made);
    check(MPI_Type_commit(&made), "MPI_Type_commit");
  }
  return type.get();
}

std::int64_t RowExchange::rows_of_a_piece(const Rows& rows) const {
  return std::max<std::int64_t>(1, piece_bytes / std::max<std::int64_t>(1, rows.row_bytes));
}

void RowExchange::all_gather(const Rows& send, std::span<const std::int64_t> row_count,
                             const Rows& receive) {
  const auto ranks = static_cast<std::size_t>(size()), own = static_cast<std::size_t>(rank());
  const MPI_Datatype row = row_type(send.row_bytes);
  const std::int64_t step = rows_of_a_piece(send), most = *std::ranges::max_element(row_count);
  const Pace pace;
  for (std::int64_t begin = 0; begin < most; begin += step) {
    const auto rows_of = [&](std::size_t r) {
      return std::clamp(row_count[r] - begin, std::int64_t{0}, step);
    };
    std::int64_t first = 0;
    for (std::size_t r = 0; r < ranks; ++r) {
      counts_[r] = counted(rows_of(r));
      offsets_[r] = counted(first + std::min(begin, row_count[r]));
      first += row_count[r];
    }
    const std::byte* rows = send.data + std::min(begin, send.count) * send.row_bytes;
    // The own rows may already be at their place in `receive`. MPI allows overlapping buffers only
    // with MPI_IN_PLACE.
    const std::byte* place = receive.data + offsets_[own] * send.row_bytes;
    const void* from = rows == place ? MPI_IN_PLACE : rows;
    pace.wait();
    check(MPI_Allgatherv(from, counts_[own], row, receive.data, counts_.data(), offsets_.data(),
                         row, comm_.get()),
          "MPI_Allgatherv");
    base::flight_recorder().moved();
  }
}

/// Calls start(rows, peer) for each piece of the rows of each other rank. Ranks begin with the next
/// higher rank, so that not all of them send to the same rank first.
template <class Start>
void RowExchange::start_pieces(const Rows& rows, std::span<const Range> ranges,
                               const Start& start) {
  const std::int64_t step = rows_of_a_piece(rows);
  for (int distance = 1; distance < size(); ++distance) {
    const int peer = (rank() + distance) % size();
    const auto [count, first] = ranges[static_cast<std::size_t>(peer)];
    for (std::int64_t done = 0; done < count; done += step)
      start(rows.range(first + done, std::min(step, count - done)), peer);
  }
}

void RowExchange::all_to_all(const Rows& send, std::span<const Range> outgoing, const Rows& receive,
                             std::span<const Range> incoming) {
  const MPI_Datatype row = row_type(send.row_bytes);
  const Pace pace;
  start_pieces(receive, incoming, [&](const Rows& rows, int peer) {
    requests_.push_back(MPI_REQUEST_NULL);
    check(MPI_Irecv(rows.data, counted(rows.count), row, peer, exchange_tag, comm_.get(),
                    &requests_.back()),
          "MPI_Irecv");
  });
  start_pieces(send, outgoing, [&](const Rows& rows, int peer) {
    pace.wait();
    requests_.push_back(MPI_REQUEST_NULL);
    check(MPI_Isend(rows.data, counted(rows.count), row, peer, exchange_tag, comm_.get(),
                    &requests_.back()),
          "MPI_Isend");
    base::flight_recorder().moved();
  });
  const auto own = static_cast<std::size_t>(rank());
  if (outgoing[own].count > 0)
    copy_rows(send.range(outgoing[own].first, outgoing[own].count),
              receive.range(incoming[own].first, incoming[own].count));
  completed_.resize(requests_.size());
  for (int count = 0; count != MPI_UNDEFINED;) {
    check(MPI_Waitsome(static_cast<int>(requests_.size()), requests_.data(), &count,
                       completed_.data(), MPI_STATUSES_IGNORE),
          "MPI_Waitsome");
    base::flight_recorder().moved();
  }
  requests_.clear();
}

}  // namespace tetrarch::mpi
