// SPDX-License-Identifier: Apache-2.0
#include "mpi/communicator.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"

namespace tetrarch::mpi {
namespace {

constexpr std::size_t max_piece_bytes = std::size_t{1} << 30;  // MPI's counts are int

template <class T>
T reduce(MPI_Comm comm, T value, MPI_Datatype type, MPI_Op operation) {
  T result{};
  check(MPI_Allreduce(&value, &result, 1, type, operation, comm), "MPI_Allreduce");
  return result;
}

/// Calls piece(first byte, count) over all of `bytes`.
template <class Piece>
void in_pieces(std::size_t bytes, const Piece& piece) {
  for (std::size_t begin = 0; begin < bytes; begin += max_piece_bytes)
    piece(begin, static_cast<int>(std::min(max_piece_bytes, bytes - begin)));
}

}  // namespace

Communicator::Communicator(MPI_Comm comm) : comm_(comm) {
  check(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check(MPI_Comm_rank(comm, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(comm, &size_), "MPI_Comm_size");
}

void Communicator::barrier() const { check(MPI_Barrier(get()), "MPI_Barrier"); }

std::int64_t Communicator::sum(std::int64_t value) const {
  return reduce(get(), value, MPI_INT64_T, MPI_SUM);
}
std::int64_t Communicator::min(std::int64_t value) const {
  return reduce(get(), value, MPI_INT64_T, MPI_MIN);
}
std::int64_t Communicator::max(std::int64_t value) const {
  return reduce(get(), value, MPI_INT64_T, MPI_MAX);
}
double Communicator::max(double value) const {
  return reduce(get(), value, MPI_DOUBLE, MPI_MAX);
}

void Communicator::broadcast(std::span<std::byte> bytes, int root) const {
  in_pieces(bytes.size(), [&](std::size_t begin, int count) {
    check(MPI_Bcast(bytes.data() + begin, count, MPI_BYTE, root, get()), "MPI_Bcast");
  });
}

std::string Communicator::broadcast(const std::string& text, int root) const {
  auto size = static_cast<std::uint64_t>(text.size());
  check(MPI_Bcast(&size, 1, MPI_UINT64_T, root, get()), "MPI_Bcast");
  std::string result = text;
  result.resize(size);
  broadcast(std::as_writable_bytes(std::span(result.data(), size)), root);
  return result;
}

std::vector<std::string> Communicator::all_gather(const std::string& text) const {
  std::vector<std::string> texts(size_);
  for (int root = 0; root < size_; ++root) texts[root] = broadcast(text, root);
  return texts;
}

std::vector<double> Communicator::all_gather(std::span<const double> values) const {
  std::vector<double> all(values.size() * size_);
  const auto count = static_cast<int>(values.size());
  check(MPI_Allgather(values.data(), count, MPI_DOUBLE, all.data(), count, MPI_DOUBLE, get()),
        "MPI_Allgather");
  return all;
}

std::vector<std::int64_t> Communicator::all_gather(std::span<const std::int64_t> values) const {
  std::vector<std::int64_t> all(values.size() * size_);
  const auto count = static_cast<int>(values.size());
  check(MPI_Allgather(values.data(), count, MPI_INT64_T, all.data(), count, MPI_INT64_T, get()),
        "MPI_Allgather");
  return all;
}

std::vector<std::byte> Communicator::gather_v(std::span<const std::byte> bytes, int root) const {
  const auto mine = static_cast<std::int64_t>(bytes.size());
  const std::vector<std::int64_t> sizes = all_gather(std::span(&mine, 1));
  const std::int64_t total = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
  base::expects(total <= static_cast<std::int64_t>(max_piece_bytes), "at most 1 GiB to gather");
  std::vector<int> counts(sizes.begin(), sizes.end());
  std::vector<int> offsets(size_, 0);
  std::partial_sum(counts.begin(), counts.end() - 1, offsets.begin() + 1);
  std::vector<std::byte> all(rank_ == root ? total : 0);
  check(MPI_Gatherv(bytes.data(), static_cast<int>(mine), MPI_BYTE, all.data(), counts.data(),
                    offsets.data(), MPI_BYTE, root, get()),
        "MPI_Gatherv");
  return all;
}

void Communicator::send(std::span<const std::byte> bytes, int to, int tag) const {
  in_pieces(bytes.size(), [&](std::size_t begin, int count) {
    check(MPI_Send(bytes.data() + begin, count, MPI_BYTE, to, tag, get()), "MPI_Send");
  });
}

void Communicator::receive(std::span<std::byte> bytes, int from, int tag) const {
  in_pieces(bytes.size(), [&](std::size_t begin, int count) {
    check(MPI_Recv(bytes.data() + begin, count, MPI_BYTE, from, tag, get(), MPI_STATUS_IGNORE),
          "MPI_Recv");
  });
}

Communicator Communicator::split(int color, int key) const {
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Comm_split(get(), color, key, &comm), "MPI_Comm_split");
  return Communicator(comm);
}

Communicator Communicator::split_by_node() const {
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Comm_split_type(get(), MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &comm),
        "MPI_Comm_split_type");
  return Communicator(comm);
}

Communicator Communicator::subset(std::span<const int> ranks) const {
  MPI_Group all = MPI_GROUP_NULL, some = MPI_GROUP_NULL;
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Comm_group(get(), &all), "MPI_Comm_group");
  check(MPI_Group_incl(all, static_cast<int>(ranks.size()), ranks.data(), &some),
        "MPI_Group_incl");
  const int status = MPI_Comm_create_group(get(), some, 0, &comm);
  MPI_Group_free(&some);
  MPI_Group_free(&all);
  check(status, "MPI_Comm_create_group");
  return Communicator(comm);
}

}  // namespace tetrarch::mpi
