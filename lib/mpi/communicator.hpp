/// An MPI communicator with collectives and messages for host data: counts, texts, bytes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/flight_recorder.hpp"
#include "base/handle.hpp"
#include "mpi/check.hpp"
#include "mpi/request.hpp"

namespace tetrarch::mpi {

struct CloseCommunicator {
  static MPI_Comm empty() { return MPI_COMM_NULL; }
  void operator()(MPI_Comm comm) const noexcept { MPI_Comm_free(&comm); }
};

/// Owns an MPI_Comm; move-only. All calls block until MPI's blocking call returns, except
/// start_send(). When MPI fails they throw SystemError, as check() does.
class Communicator {
 public:
  /// Longer transfers are cut into pieces of this size, which is below the range of MPI's int
  /// counts. Each finished piece counts as progress for the watchdog: with its default limit of
  /// 300 s, a network of 0.2 MB/s is fast enough.
  static constexpr std::size_t max_piece_bytes = std::size_t{64} << 20;

  /// Takes ownership of `comm` and sets its error handler to MPI_ERRORS_RETURN. `name` is a string
  /// literal; it names the communicator in the flight recorder.
  explicit Communicator(MPI_Comm comm, const char* name = "unnamed");

  MPI_Comm get() const { return comm_.get(); }
  int rank() const { return rank_; }
  int size() const { return size_; }
  /// The name and the world ranks of this communicator.
  base::Group& group() const { return *group_.get(); }

  void barrier() const;
  /// Reductions of one value of each rank; every rank gets the result.
  std::int64_t sum(std::int64_t value) const;
  std::int64_t min(std::int64_t value) const;
  std::int64_t max(std::int64_t value) const;
  double max(double value) const;
  /// Any number of bytes, in pieces of max_piece_bytes; `bytes` has the same size on every rank.
  void broadcast(std::span<std::byte> bytes, int root) const;
  /// Returns root's text on every rank; `text` of the other ranks is ignored.
  std::string broadcast(const std::string& text, int root) const;
  /// The text of rank r at index r, on every rank. Texts of any length: they are sent in rounds of
  /// at most `most_at_once` bytes of all ranks together, or one byte of each rank if that is more.
  std::vector<std::string> all_gather(const std::string& text,
                                      std::size_t most_at_once = max_piece_bytes) const;
  /// The values of all ranks, concatenated in rank order, on every rank. Each rank gives the same
  /// number of values.
  std::vector<double> all_gather(std::span<const double> values) const;
  std::vector<std::int64_t> all_gather(std::span<const std::int64_t> values) const;
  /// The bytes of all ranks, concatenated in rank order, on root; empty on the others. Ranks may
  /// give different numbers of bytes, any number: they are sent in rounds as in all_gather().
  std::vector<std::byte> gather_v(std::span<const std::byte> bytes, int root,
                                  std::size_t most_at_once = max_piece_bytes) const;
  /// Sends bytes from one rank to another, in pieces of max_piece_bytes. Both sides must give the
  /// same size.
  void send(std::span<const std::byte> bytes, int to, int tag) const;
  void receive(std::span<std::byte> bytes, int from, int tag) const;
  /// Starts a send and returns at once; receive() takes it. One Request for each piece; `bytes`
  /// must stay unchanged until all of them are done.
  std::vector<Request> start_send(std::span<const std::byte> bytes, int to, int tag) const;

  /// MPI_Comm_split: the ranks that give the same color, ordered by key. Collective.
  Communicator split(int color, int key, const char* name = "unnamed") const;
  /// The ranks of this communicator that share this node's memory. Collective.
  Communicator split_by_node() const;
  /// The listed ranks of this communicator, in this order. Collective over exactly these ranks.
  Communicator subset(std::span<const int> ranks, const char* name = "unnamed") const;

 private:
  template <class Gather>
  std::vector<std::byte> gather_in_rounds(std::span<const std::byte> bytes,
                                          std::span<const std::int64_t> sizes,
                                          std::size_t most_at_once, bool is_receiver,
                                          const Gather& gather) const;

  base::Handle<MPI_Comm, CloseCommunicator> comm_;
  int rank_ = 0;
  int size_ = 1;
  base::GroupHandle group_;
};

}  // namespace tetrarch::mpi
