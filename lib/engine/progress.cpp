// SPDX-License-Identifier: Apache-2.0
#include "engine/progress.hpp"

#include <ctime>

#include <fmt/chrono.h>

#include "base/text.hpp"

namespace tetrarch::engine {

Progress::Progress(base::Log& log, double interval_s, std::int64_t num_sequences,
                   std::int64_t num_tokens)
    : log_(log),
      interval_s_(interval_s),
      num_sequences_(num_sequences),
      num_tokens_(num_tokens),
      started_(Clock::now()),
      last_(started_) {}

void Progress::update(std::int64_t sequences, std::int64_t tokens) {
  const Clock::time_point now = Clock::now();
  const double since_last = std::chrono::duration<double>(now - last_).count();
  if (log_.is_silent() || since_last < interval_s_ || tokens <= 0 || tokens >= num_tokens_) return;
  const double elapsed = std::chrono::duration<double>(now - started_).count();
  const double rate = static_cast<double>(tokens) / elapsed;
  const double recent = static_cast<double>(tokens - last_tokens_) / since_last;
  const double left = static_cast<double>(num_tokens_ - tokens) / rate;
  const std::time_t clock = std::time(nullptr);
  log_.say(
      "[{:%H:%M:%S}] {:3.0f} %  {}/{} sequences, {:.1f} tokens/s (last {:.0f} s: {:.1f}), "
      "{} left, done at {:%H:%M:%S}",
      fmt::localtime(clock), 100.0 * static_cast<double>(tokens) / static_cast<double>(num_tokens_),
      base::count_text(sequences), base::count_text(num_sequences_), rate, since_last, recent,
      base::duration_text(left), fmt::localtime(clock + static_cast<std::time_t>(left)));
  last_ = now;
  last_tokens_ = tokens;
}

}  // namespace tetrarch::engine
