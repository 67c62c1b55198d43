// SPDX-License-Identifier: Apache-2.0
#include "mpi/communicator.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.hpp"

namespace tetrarch::mpi {
namespace {

using base::Operation;
using base::OperationKind;

template <class T>
T reduce(const Communicator& communicator, T value, MPI_Datatype type, MPI_Op operation) {
  const Operation running(communicator.group(),
                          {"all_reduce", OperationKind::collective, sizeof(T)});
  T result{};
  check(MPI_Allreduce(&value, &result, 1, type, operation, communicator.get()), "MPI_Allreduce");
  return result;
}

/// Calls piece(offset, count) for consecutive pieces of at most max_piece_bytes that cover `bytes`.
template <class Piece>
void in_pieces(std::size_t bytes, const Piece& piece) {
  for (std::size_t begin = 0; begin < bytes; begin += Communicator::max_piece_bytes) {
    piece(begin, static_cast<int>(std::min(Communicator::max_piece_bytes, bytes - begin)));
    base::flight_recorder().moved();
  }
}

/// Byte count and offset of each rank's contribution to one round, as MPI's ints.
struct Pieces {
  std::vector<int> counts, offsets;
  std::size_t total = 0;
};

/// The round in which rank r contributes its bytes [begin, begin + share), as far as it has them.
/// `sizes` are the bytes of each rank.
Pieces pieces_of(std::span<const std::int64_t> sizes, std::int64_t begin, std::int64_t share) {
  Pieces pieces;
  for (const std::int64_t size : sizes) {
    const std::int64_t count = std::clamp<std::int64_t>(size - begin, 0, share);
    pieces.counts.push_back(static_cast<int>(count));
    pieces.offsets.push_back(static_cast<int>(pieces.total));
    pieces.total += static_cast<std::size_t>(count);
  }
  return pieces;
}

/// For each rank of `comm`, its rank in MPI_COMM_WORLD.
std::vector<int> ranks_in_world(MPI_Comm comm, int size) {
  std::vector<int> ranks(static_cast<std::size_t>(size)), in_world(ranks.size());
  std::iota(ranks.begin(), ranks.end(), 0);
  MPI_Group some = MPI_GROUP_NULL, world = MPI_GROUP_NULL;
  check(MPI_Comm_group(comm, &some), "MPI_Comm_group");
  check(MPI_Comm_group(MPI_COMM_WORLD, &world), "MPI_Comm_group");
  const int status = MPI_Group_translate_ranks(some, size, ranks.data(), world, in_world.data());
  MPI_Group_free(&some);
  MPI_Group_free(&world);
  check(status, "MPI_Group_translate_ranks");
  return in_world;
}

}  // namespace

Communicator::Communicator(MPI_Comm comm, const char* name) : comm_(comm) {
  check(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check(MPI_Comm_rank(comm, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(comm, &size_), "MPI_Comm_size");
  group_ = base::flight_recorder().add_group(name, ranks_in_world(comm, size_));
}

void Communicator::barrier() const {
  const Operation running(group(), {"barrier"});
  check(MPI_Barrier(get()), "MPI_Barrier");
}

std::int64_t Communicator::sum(std::int64_t value) const {
  return reduce(*this, value, MPI_INT64_T, MPI_SUM);
}
std::int64_t Communicator::min(std::int64_t value) const {
  return reduce(*this, value, MPI_INT64_T, MPI_MIN);
}
std::int64_t Communicator::max(std::int64_t value) const {
  return reduce(*this, value, MPI_INT64_T, MPI_MAX);
}
double Communicator::max(double value) const {
  return reduce(*this, value, MPI_DOUBLE, MPI_MAX);
}

void Communicator::broadcast(std::span<std::byte> bytes, int root) const {
  const Operation running(group(), {"broadcast", OperationKind::collective, bytes.size()});
  in_pieces(bytes.size(), [&](std::size_t begin, int count) {
    check(MPI_Bcast(bytes.data() + begin, count, MPI_BYTE, root, get()), "MPI_Bcast");
  });
}

std::string Communicator::broadcast(const std::string& text, int root) const {
  auto size = static_cast<std::uint64_t>(text.size());
  broadcast(std::as_writable_bytes(std::span(&size, 1)), root);
  std::string result = text;
  result.resize(size);
  broadcast(std::as_writable_bytes(std::span(result.data(), size)), root);
  return result;
}

/// The bytes of all ranks, concatenated in rank order; empty where `is_receiver` is false.
/// They are sent in rounds. In a round each rank sends at most most_at_once / size bytes, and at
/// least one while it has any; when all bytes together are at most most_at_once, there is one
/// round. gather(my bytes, pieces, destination) does the collective call of one round.
template <class Gather>
std::vector<std::byte> Communicator::gather_in_rounds(std::span<const std::byte> bytes,
                                                      std::span<const std::int64_t> sizes,
                                                      std::size_t most_at_once, bool is_receiver,
                                                      const Gather& gather) const {
  const std::int64_t largest = *std::ranges::max_element(sizes);
  const std::int64_t total = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
  const auto most = static_cast<std::int64_t>(most_at_once);
  const std::int64_t share =
      total <= most ? std::max<std::int64_t>(1, largest) : std::max<std::int64_t>(1, most / size_);
  std::vector<std::byte> all(is_receiver && share < largest ? total : 0), round;
  for (std::int64_t begin = 0; begin == 0 || begin < largest; begin += share) {
    const Pieces pieces = pieces_of(sizes, begin, share);
    round.resize(is_receiver ? pieces.total : 0);
    gather(bytes.subspan(std::min<std::size_t>(begin, bytes.size())), pieces, round.data());
    if (share >= largest) return round;
    std::byte* to = all.data() + begin;
    for (int rank = 0; is_receiver && rank < size_; ++rank) {
      std::copy_n(round.data() + pieces.offsets[rank], pieces.counts[rank], to);
      to += sizes[rank];
    }
  }
  return all;
}

std::vector<std::string> Communicator::all_gather(const std::string& text,
                                                  std::size_t most_at_once) const {
  const auto mine = static_cast<std::int64_t>(text.size());
  const std::vector<std::int64_t> sizes = all_gather(std::span(&mine, 1));
  const std::vector<std::byte> all = gather_in_rounds(
      std::as_bytes(std::span(text)), sizes, most_at_once, true,
      [&](std::span<const std::byte> bytes, const Pieces& pieces, std::byte* to) {
        const Operation running(group(), {"all_gather", OperationKind::collective, pieces.total});
        check(MPI_Allgatherv(bytes.data(), pieces.counts[rank_], MPI_BYTE, to, pieces.counts.data(),
                             pieces.offsets.data(), MPI_BYTE, get()),
              "MPI_Allgatherv");
      });
  std::vector<std::string> texts;
  const char* at = reinterpret_cast<const char*>(all.data());
  for (const std::int64_t size : sizes)
    texts.emplace_back(std::exchange(at, at + size), static_cast<std::size_t>(size));
  return texts;
}

std::vector<double> Communicator::all_gather(std::span<const double> values) const {
  std::vector<double> all(values.size() * size_);
  const Operation running(group(),
                          {"all_gather", OperationKind::collective, all.size() * sizeof(double)});
  const auto count = static_cast<int>(values.size());
  check(MPI_Allgather(values.data(), count, MPI_DOUBLE, all.data(), count, MPI_DOUBLE, get()),
        "MPI_Allgather");
  return all;
}

std::vector<std::int64_t> Communicator::all_gather(std::span<const std::int64_t> values) const {
  std::vector<std::int64_t> all(values.size() * size_);
  const Operation running(
      group(), {"all_gather", OperationKind::collective, all.size() * sizeof(std::int64_t)});
  const auto count = static_cast<int>(values.size());
  check(MPI_Allgather(values.data(), count, MPI_INT64_T, all.data(), count, MPI_INT64_T, get()),
        "MPI_Allgather");
  return all;
}

std::vector<std::byte> Communicator::gather_v(std::span<const std::byte> bytes, int root,
                                              std::size_t most_at_once) const {
  const auto mine = static_cast<std::int64_t>(bytes.size());
  const std::vector<std::int64_t> sizes = all_gather(std::span(&mine, 1));
  return gather_in_rounds(
      bytes, sizes, most_at_once, rank_ == root,
      [&](std::span<const std::byte> own, const Pieces& pieces, std::byte* to) {
        const Operation running(group(), {"gather_v", OperationKind::collective, pieces.total});
        check(MPI_Gatherv(own.data(), pieces.counts[rank_], MPI_BYTE, to, pieces.counts.data(),
                          pieces.offsets.data(), MPI_BYTE, root, get()),
              "MPI_Gatherv");
      });
}

void Communicator::send(std::span<const std::byte> bytes, int to, int tag) const {
  const Operation running(group(), {"send", OperationKind::message, bytes.size(), to});
  in_pieces(bytes.size(), [&](std::size_t begin, int count) {
    check(MPI_Send(bytes.data() + begin, count, MPI_BYTE, to, tag, get()), "MPI_Send");
  });
}

void Communicator::receive(std::span<std::byte> bytes, int from, int tag) const {
  const Operation running(group(), {"receive", OperationKind::message, bytes.size(), from});
  in_pieces(bytes.size(), [&](std::size_t begin, int count) {
    check(MPI_Recv(bytes.data() + begin, count, MPI_BYTE, from, tag, get(), MPI_STATUS_IGNORE),
          "MPI_Recv");
  });
}

std::vector<Request> Communicator::start_send(std::span<const std::byte> bytes, int to,
                                              int tag) const {
  std::vector<Request> requests;
  in_pieces(bytes.size(), [&](std::size_t begin, int count) {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Isend(bytes.data() + begin, count, MPI_BYTE, to, tag, get(), &request), "MPI_Isend");
    requests.emplace_back(request, group(), to);
  });
  return requests;
}

Communicator Communicator::split(int color, int key, const char* name) const {
  const Operation running(group(), {"split"});
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Comm_split(get(), color, key, &comm), "MPI_Comm_split");
  return Communicator(comm, name);
}

Communicator Communicator::split_by_node() const {
  const Operation running(group(), {"split_by_node"});
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Comm_split_type(get(), MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &comm),
        "MPI_Comm_split_type");
  return Communicator(comm, "node");
}

Communicator Communicator::subset(std::span<const int> ranks, const char* name) const {
  const Operation running(group(), {"subset"});
  MPI_Group all = MPI_GROUP_NULL, some = MPI_GROUP_NULL;
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Comm_group(get(), &all), "MPI_Comm_group");
  check(MPI_Group_incl(all, static_cast<int>(ranks.size()), ranks.data(), &some), "MPI_Group_incl");
  const int status = MPI_Comm_create_group(get(), some, 0, &comm);
  MPI_Group_free(&some);
  MPI_Group_free(&all);
  check(status, "MPI_Comm_create_group");
  return Communicator(comm, name);
}

}  // namespace tetrarch::mpi
