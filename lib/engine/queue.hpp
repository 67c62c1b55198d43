/// Which microbatch an instance does next: drawn whole, one ahead, from one counter.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/topology.hpp"
#include "mpi/desk.hpp"
#include "plan/schedule.hpp"

namespace tetrarch::engine {

/// What instances have drawn, and what of it has left their first stages by now. Of rank 0;
/// thread-safe.
class DrawBook {
 public:
  static constexpr std::int64_t none_left = -1, stopped = -2;

  /// `stop_requested` is asked at each draw but an instance's first, so that every attempt does
  /// something.
  DrawBook(std::span<const plan::Microbatch> microbatches, std::function<bool()> stop_requested);

  /// The next microbatch for an instance, or none_left, or stopped.
  std::int64_t draw(int instance);
  struct Done {
    std::int64_t sequences = 0, tokens = 0;
  };
  /// An instance that draws holds one more, so that what it drew two draws ago has left its first
  /// stage.
  Done done() const;

 private:
  std::span<const plan::Microbatch> microbatches_;
  std::function<bool()> stop_requested_;
  mutable std::mutex mutex_;
  std::int64_t next_ = 0;
  /// The last two answers to an instance.
  struct Drawn {
    std::int64_t before = none_left, last = none_left;
    bool is_first = true;
  };
  std::vector<Drawn> drawn_;  // by each instance
  Done done_;
};

/// The leaders' end of it. Collective in construction and destruction over all leaders.
class MicrobatchQueue {
 public:
  /// `leaders`: the leading ranks of all instances; `book` is used on its rank 0.
  MicrobatchQueue(const mpi::Communicator& leaders, DrawBook& book);

  /// Index of the next microbatch, -1 after the last. The one after it is drawn already: on a stop
  /// it is left for another time.
  std::int64_t next();

 private:
  mpi::Desk desk_;
  std::optional<std::int64_t> held_;
  bool is_first_ = true;
};

}  // namespace tetrarch::engine
