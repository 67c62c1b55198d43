/// Prints the progress of a run to the log, at most one line per interval.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

#include "base/log.hpp"

namespace tetrarch::engine {

class Progress {
 public:
  Progress(base::Log& log, double interval_s, std::int64_t num_sequences, std::int64_t num_tokens);
  /// Takes what is done since the start of the attempt. Prints a line when the interval is over.
  void update(std::int64_t sequences, std::int64_t tokens);

 private:
  using Clock = std::chrono::steady_clock;
  base::Log& log_;
  double interval_s_;
  std::int64_t num_sequences_, num_tokens_;
  Clock::time_point started_, last_;
  std::int64_t last_tokens_ = 0;
};

}  // namespace tetrarch::engine
