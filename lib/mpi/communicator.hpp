/// A group of ranks that speak together about host data: counts, texts, bytes.
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

class Communicator {
 public:
  /// Below the range of MPI's int counts. A piece that has moved is a sign of life: in the 300 s of
  /// a watchdog it needs 0.2 MB/s.
  static constexpr std::size_t max_piece_bytes = std::size_t{64} << 20;

  /// Takes ownership of `comm`, and makes its errors return. `name`, a literal: in the records of
  /// what ran.
  explicit Communicator(MPI_Comm comm, const char* name = "unnamed");

  MPI_Comm get() const { return comm_.get(); }
  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Its name and its ranks in the world.
  base::Group& group() const { return *group_.get(); }

  void barrier() const;
  std::int64_t sum(std::int64_t value) const;
  std::int64_t min(std::int64_t value) const;
  std::int64_t max(std::int64_t value) const;
  double max(double value) const;
  /// Any number of bytes, in pieces of at most 64 MiB.
  void broadcast(std::span<std::byte> bytes, int root) const;
  std::string broadcast(const std::string& text, int root) const;
  /// rank r's text at [r], on every rank. Any number of bytes: at most `most_at_once` of all ranks
  /// together are on their way, or one of each.
  std::vector<std::string> all_gather(const std::string& text,
                                      std::size_t most_at_once = max_piece_bytes) const;
  /// Equal counts from every rank, one after another, on every rank.
  std::vector<double> all_gather(std::span<const double> values) const;
  std::vector<std::int64_t> all_gather(std::span<const std::int64_t> values) const;
  /// Whole bytes of every rank, one after another, at root (elsewhere empty). As many as may be,
  /// as for all_gather().
  std::vector<std::byte> gather_v(std::span<const std::byte> bytes, int root,
                                  std::size_t most_at_once = max_piece_bytes) const;
  /// Bytes from one rank to another; sizes known to both.
  void send(std::span<const std::byte> bytes, int to, int tag) const;
  void receive(std::span<std::byte> bytes, int from, int tag) const;
  /// Starts a send that receive() takes, in the same pieces; returns before anyone receives.
  std::vector<Request> start_send(std::span<const std::byte> bytes, int to, int tag) const;

  Communicator split(int color, int key, const char* name = "unnamed") const;
  /// The ranks of this communicator that share a node's memory.
  Communicator split_by_node() const;
  /// Collective over exactly these ranks of this communicator, in this order.
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
