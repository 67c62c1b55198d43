/// The queue of microbatches: instances draw whole microbatches from one counter, one ahead.
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

/// Lives on rank 0. Counts what instances have drawn, and what has left their first stage.
/// Thread-safe.
class DrawBook {
 public:
  static constexpr std::int64_t none_left = -1, stopped = -2;

  /// `stop_requested` is called at each draw, except at the first draw of an instance. So every
  /// attempt does some work.
  DrawBook(std::span<const plan::Microbatch> microbatches, std::function<bool()> stop_requested);

  /// Returns the next microbatch for an instance, or none_left, or stopped.
  std::int64_t draw(int instance);
  struct Done {
    std::int64_t sequences = 0, tokens = 0;
  };
  /// The work that is done. An instance draws one microbatch ahead. So at a draw, the microbatch of
  /// two draws ago has left its first stage and counts as done.
  Done done() const;

 private:
  std::span<const plan::Microbatch> microbatches_;
  std::function<bool()> stop_requested_;
  mutable std::mutex mutex_;
  std::int64_t next_ = 0;
  /// The last two answers that an instance got.
  struct Drawn {
    std::int64_t before = none_left, last = none_left;
    bool is_first = true;
  };
  std::vector<Drawn> drawn_;  // index: instance
  Done done_;
};

/// The queue as the leaders of instances see it. Construction and destruction are collective over
/// all leaders.
class MicrobatchQueue {
 public:
  /// `leaders`: the leaders of all instances. `book` is used on rank 0 of `leaders` only.
  MicrobatchQueue(const mpi::Communicator& leaders, DrawBook& book);

  /// Returns the index of the next microbatch, -1 after the last. The microbatch after it is drawn
  /// in the same call. On a stop that one is not done in this attempt.
  std::int64_t next();

 private:
  mpi::Desk desk_;
  std::optional<std::int64_t> held_;
  bool is_first_ = true;
};

}  // namespace tetrarch::engine
